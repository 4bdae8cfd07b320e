//! The MQTT gate of Tanglegate: sessions, shards and the permits they enforce.
