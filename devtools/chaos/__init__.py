"""The drills: real services and real workers, killed at every named place and at random; then the audit must find nothing."""
