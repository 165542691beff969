//! Frames round trip; what exceeds a limit, is cut short or goes on too long is refused.

use super::*;
use futures::executor::block_on;
use futures::io::Cursor;
use quarry_trust::Signature;

fn offer(size: usize) -> Offer {
    let signed = SignedEntry {
        bytes: vec![3; 100],
        signature: Signature([9; 64]),
    };
    Offer {
        prediction: vec![1; size],
        signed,
    }
}

fn answer_bytes(answer: &Answer) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    block_on(answer.write(&mut out)).expect("memory");
    out.into_inner()
}

fn read_answer(bytes: &[u8]) -> Result<Answer, WireError> {
    block_on(Answer::read(&mut Cursor::new(bytes)))
        .map_err(|e| WireError::within(&e).unwrap_or(WireError::Corrupt("io")))
}

#[test]
fn every_request_round_trips() {
    let lookup = Ask::Lookup(LookupKey::of(b"l"));
    let action = Ask::Action(ActionKey::of(b"a"));
    for request in [
        Request::Roster(vec![1, 2, 3]),
        Request::Filter,
        Request::Ask(lookup),
        Request::Ask(action),
        Request::Ask(Ask::Crate(crate::swarm::crate_digest("serde"))),
        Request::Ask(Ask::Next(ActionKey::of(b"n"))),
        Request::Restored(BuilderId([7; 32])),
    ] {
        let mut out = Cursor::new(Vec::new());
        block_on(request.write(&mut out)).expect("memory");
        let back = block_on(Request::read(&mut Cursor::new(out.into_inner()))).expect("decodes");
        assert_eq!(back, request);
    }
}

#[test]
fn every_answer_round_trips_and_knows_its_length() {
    for answer in [
        Answer::Roster(vec![4; 1000]),
        Answer::Filter(vec![5; 10]),
        Answer::Offers(vec![]),
        Answer::Offers(vec![offer(0), offer(5000)]),
        Answer::Restored(Restored::default()),
        Answer::Busy,
    ] {
        let bytes = answer_bytes(&answer);
        assert_eq!(bytes.len() as u64, answer.wire_len());
        assert_eq!(read_answer(&bytes), Ok(answer));
    }
}

#[test]
fn a_length_above_the_limit_is_refused_before_the_body_is_read() {
    let mut frame = vec![ANSWER_OFFERS];
    frame.extend_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(read_answer(&frame), Err(WireError::Oversize));
}

#[test]
fn nine_offers_are_refused() {
    let mut body = encode_offers(&vec![offer(1); 8]);
    body[0] = 9;
    let Err(error) = decode_offers(&body) else {
        panic!("nine offers were taken")
    };
    assert_eq!(error, WireError::Oversize);
}

#[test]
fn an_inner_length_that_lies_is_refused() {
    let mut body = encode_offers(&[offer(4)]);
    body[1..5].copy_from_slice(&(MAX_PREDICTION_BYTES as u32 + 1).to_le_bytes());
    assert_eq!(decode_offers(&body), Err(WireError::Oversize));
    body[1..5].copy_from_slice(&(MAX_PREDICTION_BYTES as u32).to_le_bytes());
    assert_eq!(
        decode_offers(&body),
        Err(WireError::Corrupt("the bytes end inside a field"))
    );
}

#[test]
fn bytes_after_the_last_offer_are_refused() {
    let mut body = encode_offers(&[offer(4)]);
    body.push(0);
    assert_eq!(
        decode_offers(&body),
        Err(WireError::Corrupt("bytes follow the last field"))
    );
}

#[test]
fn what_is_sent_always_fits() {
    let big = vec![offer(MAX_PREDICTION_BYTES); 8];
    let fitted = fit_offers(big);
    assert_eq!(fitted.len(), 3);
    assert_eq!(
        read_answer(&answer_bytes(&Answer::Offers(fitted.clone()))),
        Ok(Answer::Offers(fitted))
    );
    assert!(fit_offers(vec![offer(MAX_PREDICTION_BYTES + 1)]).is_empty());
    assert_eq!(fit_offers(vec![offer(1); 20]).len(), MAX_OFFERS);
}

#[test]
fn a_request_that_is_none_is_named_not_lost() {
    for (frame, error) in [
        (vec![1, 255, 255, 255, 255], WireError::Oversize),
        (vec![2, 1, 0, 0, 0, 0], WireError::Oversize),
        (
            vec![3, 2, 0, 0, 0, 0, 0],
            WireError::Corrupt("the bytes end inside a field"),
        ),
        (
            vec![9, 0, 0, 0, 0],
            WireError::Corrupt("an unknown request"),
        ),
    ] {
        let read = block_on(Request::read(&mut Cursor::new(frame)));
        assert_eq!(read.expect("a whole frame"), Request::Refused(error));
    }
}
