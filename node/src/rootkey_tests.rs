//! The root's key file: sealed and opened, bent and refused, moved and wiped.

use super::*;

const GOOD: &[u8] = b"correct horse";

fn asked(with: &[u8]) -> impl FnMut() -> io::Result<Zeroizing<Vec<u8>>> + use<> {
    let with = with.to_vec();
    move || Ok(Zeroizing::new(with.clone()))
}

fn nobody() -> io::Result<Zeroizing<Vec<u8>>> {
    panic!("a plain key asks nobody")
}

#[test]
fn a_sealed_key_opens_with_its_passphrase_alone_and_holds_no_seed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("root.key");
    let key = BuilderKey::generate().unwrap();
    save(&path, &key, Some(GOOD)).unwrap();
    assert!(!is_open_to_others(&path));
    assert_eq!(load(&path, &mut asked(GOOD)).unwrap().id(), key.id());
    assert!(matches!(
        load(&path, &mut asked(b"correct house")),
        Err(RootKeyError::Passphrase(_))
    ));
    let bytes = fs::read(&path).unwrap();
    assert!(bytes.starts_with(MAGIC));
    let seed = key.seed();
    assert!(!bytes.windows(KEY_LEN).any(|w| w == seed.as_ref()));
    assert!(matches!(
        save(&dir.path().join("b"), &key, Some(b"short")),
        Err(RootKeyError::Weak)
    ));
    assert!(!dir.path().join("b").exists());
}

#[test]
fn no_byte_of_a_sealed_key_can_be_changed_and_no_file_costs_more_than_the_bound() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("root.key");
    save(&path, &BuilderKey::generate().unwrap(), Some(GOOD)).unwrap();
    let whole = fs::read(&path).unwrap();
    // One place in each field behind the magic: id, salt, nonce, ciphertext, tag.
    let costs = MAGIC.len() + KEY_LEN;
    for at in [
        MAGIC.len() + 3,
        costs + 14,
        costs + 40,
        SEALED_FILE - 40,
        SEALED_FILE - 1,
    ] {
        let mut bent = whole.clone();
        bent[at] ^= 1;
        fs::write(&path, &bent).unwrap();
        let error = load(&path, &mut asked(GOOD)).unwrap_err();
        assert!(
            matches!(error, RootKeyError::Passphrase(_)),
            "{at}: {error}"
        );
    }
    let mut greedy = whole.clone();
    greedy[costs..costs + 4].copy_from_slice(&(COST_MAX.memory_kib + 1).to_le_bytes());
    fs::write(&path, &greedy).unwrap();
    let error = load(&path, &mut asked(GOOD)).unwrap_err();
    assert!(matches!(error, RootKeyError::Cost(_)), "{error}");
    for length in [0, 7, KEY_LEN + 1, SEALED_FILE - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let error = load(&path, &mut asked(GOOD)).unwrap_err();
        assert!(matches!(error, RootKeyError::Shape(_)), "{length}: {error}");
    }
}

#[test]
fn a_moved_key_is_there_and_no_longer_here_and_nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let (home, stick) = (dir.path().join("root.key"), dir.path().join("stick.key"));
    let id = crate::keyfile::load_or_create(&home).unwrap().id();
    fs::write(&stick, b"somebody else's").unwrap();
    let refused = move_to(&home, &stick, &mut nobody, None);
    assert!(matches!(refused, Err(RootKeyError::Exists(_))));
    assert_eq!(crate::keyfile::load(&home).unwrap().id(), id, "it stays");
    fs::remove_file(&stick).unwrap();
    assert_eq!(move_to(&home, &stick, &mut nobody, Some(GOOD)).unwrap(), id);
    assert!(!home.exists());
    assert_eq!(load(&stick, &mut asked(GOOD)).unwrap().id(), id);
}

#[test]
fn a_plain_key_that_others_may_read_is_refused_and_a_sealed_one_may_lie_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let (plain, sealed) = (dir.path().join("plain"), dir.path().join("sealed"));
    let key = BuilderKey::generate().unwrap();
    save(&plain, &key, None).unwrap();
    save(&sealed, &key, Some(GOOD)).unwrap();
    for path in [&plain, &sealed] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    }
    assert!(matches!(
        load(&plain, &mut nobody),
        Err(RootKeyError::Key(KeyError::Open(_)))
    ));
    assert_eq!(load(&sealed, &mut asked(GOOD)).unwrap().id(), key.id());
}
