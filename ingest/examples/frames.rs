//! `frames RECORDING FOLDER`: writes each frame of a recording into a file of its own, as fuzzers want them.

use std::path::Path;

use fpaas_ingest::Frames;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(recording), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("frames RECORDING FOLDER".into());
    };
    std::fs::create_dir_all(&folder)?;
    for (at, frame) in Frames::open(Path::new(&recording))?.enumerate() {
        std::fs::write(Path::new(&folder).join(format!("{at:06}")), frame?)?;
    }
    Ok(())
}
