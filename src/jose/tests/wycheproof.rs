//! The content encryption against Wycheproof, byte for byte in both directions.

use std::path::PathBuf;

use serde_json::Value;

use super::super::content::{CIPHERTEXT_OVERHEAD, Cek, Encryptor, Iv, Tag, decrypt};

/// Names the folder of the vectors, which are not part of this repository.
const FOLDER: &str = "WYCHEPROOF_DIR";
const FILE: &str = "wycheproof_a256cbc_hs512_test.json";

struct Vector {
    cek: Cek,
    iv: Iv,
    aad: Vec<u8>,
    plaintext: Vec<u8>,
    ciphertext: Vec<u8>,
    tag: Tag,
}

impl Vector {
    fn read(vector: &Value) -> Self {
        let member = |name: &str| octets(vector[name].as_str().unwrap());
        Self {
            cek: Cek::from_octets(&member("key")).unwrap(),
            iv: member("iv").try_into().unwrap(),
            aad: member("aad"),
            plaintext: member("msg"),
            ciphertext: member("ct"),
            tag: member("tag").try_into().unwrap(),
        }
    }

    fn encrypt(&self) -> (Vec<u8>, Tag) {
        let mut ciphertext = vec![0; self.plaintext.len() + CIPHERTEXT_OVERHEAD];
        let encryptor = Encryptor::new(&self.cek, &self.iv, &self.aad).unwrap();
        let (written, tag) = encryptor.finish(&self.plaintext, &mut ciphertext).unwrap();
        ciphertext.truncate(written);
        (ciphertext, tag)
    }

    fn decrypt(&self) -> Option<Vec<u8>> {
        let mut message = self.ciphertext.clone();
        decrypt(&self.cek, &self.iv, &self.aad, &mut message, &self.tag).ok()?;
        Some(message)
    }
}

fn octets(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map(|digit| digit.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test's own setting, not the gateway's")]
#[expect(clippy::print_stderr, reason = "a test that did nothing has to say so")]
fn every_valid_vector_is_reproduced_and_every_invalid_one_is_refused() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        eprintln!("skipped: {FOLDER} does not say where {FILE} is");
        return;
    };
    let file: Value = serde_json::from_slice(&std::fs::read(folder.join(FILE)).unwrap()).unwrap();
    let groups = file["testGroups"].as_array().unwrap().iter();
    let tests: Vec<_> = groups.flat_map(|group| group["tests"].as_array().unwrap()).collect();
    assert_eq!(tests.len() as u64, file["numberOfTests"].as_u64().unwrap());

    let (mut valid, mut invalid) = (0, 0);
    for test in tests {
        let vector = Vector::read(test);
        let expected = (vector.ciphertext.clone(), vector.tag);
        let id = &test["tcId"];
        match test["result"].as_str().unwrap() {
            "valid" => {
                valid += 1;
                assert_eq!(vector.encrypt(), expected, "vector {id}");
                assert_eq!(vector.decrypt().as_ref(), Some(&vector.plaintext), "vector {id}");
            }
            "invalid" => {
                invalid += 1;
                assert_eq!(vector.decrypt(), None, "vector {id}");
            }
            other => panic!("vector {id} is {other}"),
        }
    }
    assert!(valid > 0 && invalid > 0);
}
