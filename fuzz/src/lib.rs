//! What the fuzz targets run: the checks, and the codec's own sources compiled apart from the rest of Serin.

#[path = "../../src/h1/mod.rs"]
pub mod h1;
#[path = "../../src/head.rs"]
pub mod head;
#[path = "../../src/path.rs"]
pub mod path;

pub mod checks;
