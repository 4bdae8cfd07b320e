//! The migrations are compiled in: a changed one must build the engine anew.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
