"""Figures, tables, the report page and the dashboard."""
