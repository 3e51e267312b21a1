"""Measures: functions of trajectories and of tables of outcomes."""
