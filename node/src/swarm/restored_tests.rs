//! What was restored, on its way between members: bounded, and what runs first.

use super::*;

fn restored(name: &str, executes: bool) -> RestoredCrate {
    RestoredCrate {
        crate_name: name.into(),
        executes,
        count: 3,
    }
}

#[test]
fn an_answer_round_trips_and_one_that_is_bent_is_refused() {
    let all = Restored::fitting(vec![restored("serde", false), restored("derive", true)]);
    assert_eq!(all.crates[0].crate_name, "derive", "what runs comes first");
    let bytes = all.to_canon();
    assert_eq!(decode(&bytes), Ok(all));
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_err(), "cut to {length}");
    }
    assert!(decode(&[bytes.as_slice(), b"!"].concat()).is_err());
}

#[test]
fn a_list_that_claims_to_be_endless_is_refused_before_it_is_read() {
    let mut w = Writer::default();
    w.u64(0);
    w.count(MAX_RESTORED + 1);
    assert_eq!(decode(&w.finish()), Err(WireError::Oversize));
}

#[test]
fn the_largest_answer_fits_its_frame_and_says_what_it_leaves_out() {
    let long = |n: usize| format!("{n:0>width$}", width = MAX_CRATE_NAME);
    let all: Vec<_> = (0..MAX_RESTORED + 5)
        .map(|n| restored(&long(n), n == MAX_RESTORED))
        .collect();
    let fitting = Restored::fitting(all);
    assert_eq!((fitting.crates.len(), fitting.more), (MAX_RESTORED, 5));
    assert!(
        fitting.crates[0].executes,
        "what runs is never left out for what does not"
    );
    assert_eq!(fitting.to_canon().len(), MAX_RESTORED_BYTES);
}
