"""Texts of notifications: template files, locales, rendering."""
