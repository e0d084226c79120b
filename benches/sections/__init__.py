"""The parts of the report, one file for each. report.py has their order."""
