//! Property tests over the rooms of Tanglegate.
