//! Sells access to MQTT topics and enforces exactly what was paid for.
