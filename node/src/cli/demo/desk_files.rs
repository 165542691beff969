//! The workspace that the demo builds, file by file.
//!
//! It lies in `examples/workspaces/desk` and is built there by anybody who wants to; here it is
//! embedded, so that an installed qnode needs no checkout of its own sources. A test compares
//! the list with the directory.

/// `(path, bytes)` of each file listed.
macro_rules! embedded {
    ($($path:literal),* $(,)?) => {
        &[$((
            $path,
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/workspaces/desk/", $path)),
        )),*]
    };
}

/// Every file of the workspace: its path from the root, and its bytes.
pub const FILES: &[(&str, &[u8])] = embedded![
    "Cargo.lock",
    "Cargo.toml",
    "calendar/Cargo.toml",
    "calendar/src/lib.rs",
    "calendar/src/proof.rs",
    "calendar/src/style.rs",
    "cli/Cargo.toml",
    "cli/data/output.txt",
    "cli/src/main.rs",
    "derive/Cargo.toml",
    "derive/src/lib.rs",
    "describe/Cargo.toml",
    "describe/src/lib.rs",
    "export/Cargo.toml",
    "export/src/lib.rs",
    "export/src/shapes.rs",
    "export/src/tuples.rs",
    "floor/Cargo.toml",
    "floor/data/plan.txt",
    "floor/src/grid.rs",
    "floor/src/lib.rs",
    "holidays/Cargo.toml",
    "holidays/build.rs",
    "holidays/data/holidays.txt",
    "holidays/src/lib.rs",
    "index/Cargo.toml",
    "index/src/instances.rs",
    "index/src/lib.rs",
    "model/Cargo.toml",
    "model/src/lib.rs",
    "money/Cargo.toml",
    "money/src/lib.rs",
    "planner/Cargo.toml",
    "planner/src/lib.rs",
    "planner/src/strategy.rs",
    "pricing/Cargo.toml",
    "pricing/src/lib.rs",
    "pricing/src/tariff.rs",
    "report/Cargo.toml",
    "report/src/lib.rs",
    "rules/Cargo.toml",
    "rules/src/lib.rs",
    "rules/src/policy.rs",
    "search/Cargo.toml",
    "search/src/lib.rs",
    "search/src/question.rs",
    "text/Cargo.toml",
    "text/src/lib.rs",
    "text/src/warns_on_purpose.rs",
];

#[cfg(test)]
mod tests {
    use super::FILES;
    use std::fs;
    use std::path::Path;

    fn list(root: &Path, below: &Path, into: &mut Vec<String>) {
        for entry in fs::read_dir(below).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                if entry.file_name() != "target" {
                    list(root, &path, into);
                }
            } else {
                into.push(
                    path.strip_prefix(root)
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned(),
                );
            }
        }
    }

    #[test]
    fn every_file_of_the_workspace_is_embedded() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/workspaces/desk");
        let mut there = Vec::new();
        list(&root, &root, &mut there);
        there.sort();
        let embedded: Vec<&str> = FILES.iter().map(|(path, _)| *path).collect();
        assert_eq!(
            embedded, there,
            "the list in desk_files.rs is to be as the directory"
        );
    }
}
