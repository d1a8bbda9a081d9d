"""What programs ask: `/api/v1`, described by `openapi.yaml`, and what tells a watchdog that we live."""
