"""The demo: starts regions, sends triggers and audits them, in one command."""
