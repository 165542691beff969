//! Every canonical type has one form: what is written is read back, and whatever else is read is
//! written as exactly the bytes that it was read from.
//!
//! `holds_canonical` bends the bytes of a value; `any_bytes` takes bytes from nowhere, with the
//! beginnings that the forms know, so that more than their first field is reached.

use super::tests::{bends, holds_canonical};
use super::{CanonError, Canonical, Reader, Writer};
use crate::entry::{MAX_OBJECT, ObjectRef, Output, OutputKind, OutputName, Scope, TeamId};
use crate::roster::{Change, Charter, FreshMark, Gone, Member, Op, Project, Role};
use crate::{BuilderId, Digest, Entry, PeerId, SignedEntry};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use std::fmt::Debug;

fn digests() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

fn roles() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Reader), Just(Role::Builder), Just(Role::Admin)]
}

fn members() -> impl Strategy<Value = Member> {
    let ids = (any::<[u8; 32]>(), any::<[u8; 32]>());
    ("[a-zäß@.-]{1,20}", roles(), ids, any::<u64>()).prop_map(|(name, role, ids, joined)| Member {
        name,
        role,
        peer: PeerId(ids.0),
        builder: BuilderId(ids.1),
        joined,
    })
}

fn objects() -> impl Strategy<Value = ObjectRef> {
    (digests(), 0..=MAX_OBJECT).prop_map(|(digest, size)| ObjectRef { digest, size })
}

fn outputs() -> impl Strategy<Value = Output> {
    let kinds =
        prop_oneof![Just(OutputKind::Plain), Just(OutputKind::Metadata), Just(OutputKind::DepInfo)];
    ("[a-z0-9_.ä-]{0,20}\\.o", kinds, any::<bool>(), objects()).prop_map(
        |(name, kind, executable, object)| Output {
            name: OutputName::new(name).unwrap(),
            kind,
            executable,
            object,
        },
    )
}

fn ops() -> impl Strategy<Value = Op> {
    let builder = || any::<[u8; 32]>().prop_map(BuilderId);
    let names = prop_oneof![Just("a project".to_owned()), "[a-zä]{1,9}"];
    let members = btree_set(builder(), 0..4);
    prop_oneof![
        self::members().prop_map(Op::Add),
        (builder(), roles()).prop_map(|(b, r)| Op::SetRole(b, r)),
        builder().prop_map(Op::Retire),
        builder().prop_map(Op::Revoke),
        btree_set(digests(), 1..4).prop_map(Op::Merge),
        (names, members, option::of(digests())).prop_map(|(name, members, secret)| {
            let stale = false;
            let project = Project { members, secret, stale };
            Op::Project(name, project)
        }),
    ]
}

proptest! {
    #[test]
    fn numbers_and_flags_have_one_form(number: u64, flag: bool, bends in bends()) {
        holds_canonical(&number, &bends);
        holds_canonical(&flag, &bends);
    }

    #[test]
    fn digests_and_names_of_keys_have_one_form(bytes: [u8; 32], bends in bends()) {
        holds_canonical(&Digest::from_bytes(bytes), &bends);
        holds_canonical(&TeamId(Digest::from_bytes(bytes)), &bends);
        holds_canonical(&BuilderId(bytes), &bends);
        holds_canonical(&PeerId(bytes), &bends);
    }

    #[test]
    fn members_and_changes_of_them_have_one_form(
        member in members(), op in ops(), role in roles(), bends in bends()
    ) {
        for gone in [Gone::Retired, Gone::Revoked] {
            holds_canonical(&(member.clone(), gone), &bends);
            holds_canonical(&gone, &bends);
        }
        holds_canonical(&member, &bends);
        holds_canonical(&op, &bends);
        holds_canonical(&role, &bends);
    }

    #[test]
    fn what_an_entry_is_made_of_has_one_form(
        object in objects(), output in outputs(), id in digests(), bends in bends()
    ) {
        holds_canonical(&object, &bends);
        holds_canonical(&output, &bends);
        let team = TeamId(id);
        let project = Scope::project(team, "closed");
        for scope in [Scope::Private, Scope::Team(team), project] {
            holds_canonical(&scope, &bends);
        }
    }

    /// Options and lists, over which all other forms are built.
    #[test]
    fn options_and_lists_have_one_form(option: Option<u16>, list: Vec<[u8; 32]>, bends in bends()) {
        let list: Vec<Digest> = list.into_iter().map(Digest::from_bytes).collect();
        holds_canonical(&Both(option, list), &bends);
    }
}

/// An option and a list, as entries and rosters hold them.
#[derive(Debug, PartialEq)]
struct Both(Option<u16>, Vec<Digest>);

impl Canonical for Both {
    fn write(&self, w: &mut Writer) {
        w.option(self.0.as_ref(), |w, v| w.u16(*v));
        w.list(&self.1);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        Ok(Self(r.option(Reader::u16)?, r.list(1000)?))
    }
}

/// Bytes from nowhere: small numbers, counts, flags and lengths are more likely than chance has
/// them.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        2 => Just(vec![1, 0]),
        2 => Just(vec![0]),
        2 => Just(vec![1]),
        2 => (0_u8..4).prop_map(|n| vec![n, 0, 0, 0]),
        2 => any::<[u8; 8]>().prop_map(Vec::from),
        4 => any::<[u8; 32]>().prop_map(Vec::from),
        2 => "[a-z./]{1,4}".prop_map(|t| {
            let length = u32::try_from(t.len()).unwrap().to_le_bytes();
            [&length, t.as_bytes()].concat()
        }),
        1 => vec(any::<u8>(), 0..40),
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn read_is_written<T: Canonical + Debug>(bytes: &[u8]) -> bool {
    let read = T::from_canon(bytes);
    if let Ok(value) = &read {
        assert_eq!(value.to_canon(), bytes, "two encodings of {value:?}");
    }
    read.is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn whatever_is_read_is_written_as_the_same_bytes(bytes in any_bytes()) {
        read_is_written::<Digest>(&bytes);
        read_is_written::<TeamId>(&bytes);
        read_is_written::<BuilderId>(&bytes);
        read_is_written::<PeerId>(&bytes);
        read_is_written::<Scope>(&bytes);
        read_is_written::<ObjectRef>(&bytes);
        read_is_written::<Output>(&bytes);
        read_is_written::<Entry>(&bytes);
        read_is_written::<Role>(&bytes);
        read_is_written::<Gone>(&bytes);
        read_is_written::<Member>(&bytes);
        read_is_written::<(Member, Gone)>(&bytes);
        read_is_written::<Op>(&bytes);
        read_is_written::<Change>(&bytes);
        read_is_written::<FreshMark>(&bytes);
        read_is_written::<Charter>(&bytes);
        read_is_written::<Both>(&bytes);
        if let Ok(signed) = SignedEntry::from_wire(&bytes) {
            prop_assert_eq!(signed.to_wire(), bytes);
        }
    }
}

/// The test above would say nothing if nothing were ever read.
#[test]
fn some_bytes_from_nowhere_are_read() {
    let scope = [vec![1], vec![7; 32]].concat();
    assert!(read_is_written::<Scope>(&scope) && read_is_written::<Role>(&[2]));
    let op = [vec![2], vec![7; 32]].concat();
    assert!(read_is_written::<Op>(&op) && read_is_written::<Both>(&[0, 0, 0, 0, 0]));
}
