//! Hash tree, sealing and signatures of Tanglegate.
