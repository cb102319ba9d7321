"""The engine libraries, and which of them runs an artifact here."""
