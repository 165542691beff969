//! Stories of a statement: made from a builder's record, carried elsewhere, bent on the way.

use super::*;
use quarry_trust::entry::{OutputKind, OutputName};
use quarry_trust::{LookupKey, Scope};
use quarry_wrapper::action::{FileInput, Known, Observer};

const BYTES: &[u8] = b"a program";

fn description(source: &str) -> Description {
    let file = |name: &str| FileInput {
        name: name.into(),
        digest: Some(Digest::of(name.as_bytes())),
    };
    Description {
        known: Known {
            compiler: Digest::of(b"rustc"),
            compiler_version: "rustc 1.95.0\nhost: x86_64-unknown-linux-gnu\n".into(),
            observer: Observer::None,
            pure: Vec::new(),
            args: vec![b"--crate-name".to_vec(), b"app".to_vec()],
            root: file(source),
        },
        externs: Vec::new(),
        macros: Vec::new(),
        native: Vec::new(),
        link: vec![file("/quarry/target/debug/deps/libwords.rlib")],
        files: vec![file(source)],
        looked: Vec::new(),
        variables: Vec::new(),
        ran: Vec::new(),
    }
}

fn record(builder: &BuilderKey, description: &Description, output: &[u8]) -> Record {
    let (action, described) = description.action();
    let object = |bytes: &[u8]| ObjectRef {
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
    };
    let entry = Entry {
        scope: Scope::Private,
        builder: builder.id(),
        lookup: LookupKey::of(b"lookup"),
        action,
        description: object(&described),
        crate_name: "app".into(),
        outputs: vec![Output {
            name: OutputName::new("app-0123456789abcdef").unwrap(),
            kind: OutputKind::Plain,
            executable: true,
            object: object(output),
        }],
        stdout: object(b""),
        stderr: object(b""),
        width: None,
        duration_ms: 2_000,
        created: 1_700_000_000,
    };
    Record {
        signed: entry.sign(builder),
        description: described,
    }
}

fn sha256() -> String {
    "ab".repeat(32)
}

fn made(records: &[Record], exporter: &BuilderKey) -> Value {
    envelope(records, &Digest::of(BYTES), &sha256(), exporter).unwrap()
}

fn bytes(envelope: &Value) -> Vec<u8> {
    serde_json::to_vec(envelope).unwrap()
}

/// The same envelope with another statement in it, signed by whoever has the key.
fn rewritten(envelope: &Value, key: &BuilderKey, change: impl FnOnce(&mut Value)) -> Value {
    let body = base64(&envelope["payload"]).unwrap();
    let mut statement: Value = serde_json::from_slice(&body).unwrap();
    change(&mut statement);
    let body = serde_json::to_vec(&statement).unwrap();
    json!({
        "payloadType": PAYLOAD_TYPE,
        "payload": BASE64.encode(&body),
        "signatures": [{
            "keyid": key.id().to_hex(),
            "sig": BASE64.encode(&key.sign_dsse(PAYLOAD_TYPE, &body).0),
        }],
    })
}

#[test]
fn what_bob_exports_proves_that_alice_built_it() {
    let (alice, bob) = (
        BuilderKey::generate().unwrap(),
        BuilderKey::generate().unwrap(),
    );
    let record = record(&alice, &description("/quarry/ws/src/main.rs"), BYTES);
    let envelope = made(std::slice::from_ref(&record), &bob);
    let checked = check(&bytes(&envelope)).unwrap();
    assert_eq!(checked.exporter, bob.id());
    assert_eq!(checked.entries[0].builder, alice.id());
    assert_eq!(checked.blake3, Digest::of(BYTES));
    assert_eq!(checked.sha256, sha256());
    assert_eq!(checked.records, [record]);
}

#[test]
fn the_statement_has_the_fields_of_the_specifications() {
    let alice = BuilderKey::generate().unwrap();
    let record = record(&alice, &description("/quarry/ws/src/main.rs"), BYTES);
    let envelope = made(&[record], &alice);
    let body = base64(&envelope["payload"]).unwrap();
    let said: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(said["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(said["predicateType"], "https://slsa.dev/provenance/v1");
    assert_eq!(said["subject"][0]["digest"]["sha256"], sha256());
    let definition = &said["predicate"]["buildDefinition"];
    assert!(definition["buildType"].is_string());
    assert_eq!(definition["externalParameters"]["crate"], "app");
    let inputs = definition["resolvedDependencies"].as_array().unwrap();
    let linked = |d: &&Value| d["annotations"]["kind"] == "link";
    let linked = inputs.iter().find(linked).unwrap();
    assert_eq!(linked["name"], "/quarry/target/debug/deps/libwords.rlib");
    let run = &said["predicate"]["runDetails"];
    assert_eq!(run["builder"]["id"], format!("{BUILDER}{}", alice.id()));
    assert_eq!(run["metadata"]["finishedOn"], "2023-11-14T22:13:20Z");
    assert_eq!(run["metadata"]["startedOn"], "2023-11-14T22:13:18Z");
}

#[test]
fn a_changed_envelope_is_unsigned() {
    let alice = BuilderKey::generate().unwrap();
    let record = record(&alice, &description("a.rs"), BYTES);
    let mut envelope = made(&[record], &alice);
    let other = rewritten(&envelope, &alice, |s| s["subject"][0]["name"] = "x".into());
    envelope["payload"] = other["payload"].clone();
    assert_eq!(check(&bytes(&envelope)), Err(AttestError::Unsigned));
}

#[test]
fn an_exporter_that_lies_contradicts_the_builders_record() {
    let (alice, eve) = (
        BuilderKey::generate().unwrap(),
        BuilderKey::generate().unwrap(),
    );
    let record = record(&alice, &description("a.rs"), BYTES);
    let envelope = made(&[record], &eve);
    let lies: [fn(&mut Value); 4] = [
        |s| s["subject"][0]["name"] = "openssl".into(),
        |s| s["predicate"]["runDetails"]["builder"]["id"] = "urn:quarry:builder:00".into(),
        |s| s["predicate"]["buildDefinition"]["resolvedDependencies"] = json!([]),
        |s| s["predicate"]["runDetails"]["metadata"]["finishedOn"] = "1999-01-01T00:00:00Z".into(),
    ];
    for lie in lies {
        let lied = rewritten(&envelope, &eve, lie);
        assert_eq!(check(&bytes(&lied)), Err(AttestError::Contradicts));
    }
    let other = Digest::of(b"another program").to_hex();
    let lied = rewritten(&envelope, &eve, |s| {
        s["subject"][0]["digest"]["blake3"] = other.into();
    });
    let refused = AttestError::Record("it made no such bytes");
    assert_eq!(check(&bytes(&lied)), Err(refused));
}

#[test]
fn a_record_that_somebody_else_signed_or_of_another_description_is_refused() {
    let (alice, eve) = (
        BuilderKey::generate().unwrap(),
        BuilderKey::generate().unwrap(),
    );
    let honest = record(&alice, &description("a.rs"), BYTES);
    let forged = Record {
        signed: SignedEntry {
            signature: eve.sign(ENTRY_DOMAIN, &honest.signed.bytes),
            ..honest.signed.clone()
        },
        ..honest.clone()
    };
    let exported = |record: Record| envelope(&[record], &Digest::of(BYTES), &sha256(), &eve);
    assert_eq!(exported(forged), Err(AttestError::Record("its signature")));
    let swapped = Record {
        description: description("b.rs").action().1,
        ..honest
    };
    assert_eq!(
        exported(swapped),
        Err(AttestError::Record("another description"))
    );
}

#[test]
fn rubbish_and_what_is_too_long_prove_nothing() {
    for rubbish in [
        "",
        "{}",
        "[]",
        "null",
        r#"{"payloadType":"application/vnd.in-toto+json"}"#,
    ] {
        assert!(
            matches!(check(rubbish.as_bytes()), Err(AttestError::Form(_))),
            "{rubbish}"
        );
    }
    let long = vec![b' '; ENVELOPE_MAX + 1];
    assert_eq!(check(&long), Err(AttestError::Oversize));
    let alice = BuilderKey::generate().unwrap();
    let record = record(&alice, &description("a.rs"), BYTES);
    let many = vec![record; RECORDS_MAX + 1];
    assert!(envelope(&many, &Digest::of(BYTES), &sha256(), &alice).is_err());
}
