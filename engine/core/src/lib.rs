//! The rules of Tanglegate: commands in, events out, who may read what.
