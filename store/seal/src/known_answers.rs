//! The primitives give the answers that their specifications say. They come from crates; what is tested
//! is that these are the right primitives, called the right way round.

use std::collections::BTreeMap;
use std::convert::Infallible;

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::{X25519HkdfSha256, XWing};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use rand_core::{TryCryptoRng, TryRng};

use crate::aead;
use crate::protector::PassphraseCost;
use crate::secret::{SecretBytes, SymmetricKey};

#[test]
fn xchacha20_poly1305_as_in_the_draft() {
    // draft-irtf-cfrg-xchacha-03, A.3.1.
    let key: Vec<u8> = (0x80..=0x9f).collect();
    let nonce: Vec<u8> = (0x40..=0x57).collect();
    let bound_to = bytes("50515253c0c1c2c3c4c5c6c7");
    let mut text = *b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip \
                      for the future, sunscreen would be it.";
    let key = SymmetricKey::from_slice(&key).unwrap();
    let nonce = nonce.try_into().unwrap();
    let tag = aead::seal_in_place(&key, &nonce, &bound_to, &mut text);
    assert_eq!(
        hex::encode(text),
        "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda\
         7e39ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b23835\
         65d3fff921f9664c97637da9768812f615c68b13b52e"
    );
    assert_eq!(hex::encode(tag), "c0875924c1c7987947deafd8780acf49");
    aead::open_in_place(&key, &nonce, &bound_to, &mut text, &tag).unwrap();
    assert!(text.starts_with(b"Ladies and Gentlemen"));
}

#[test]
fn hpke_as_in_rfc_9180() {
    // A.2.1: X25519, HKDF-SHA256, ChaCha20-Poly1305, base mode, the first encryption.
    let private = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(&bytes(
        "8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb",
    ));
    let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&bytes(
        "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a",
    ));
    let plaintext = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &private.unwrap(),
        &encapsulated.unwrap(),
        &bytes("4f6465206f6e2061204772656369616e2055726e"),
        &bytes(
            "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28",
        ),
        &bytes("436f756e742d30"),
    );
    assert_eq!(plaintext.unwrap(), b"Beauty is truth, truth beauty");
}

#[test]
fn hpke_with_x_wing_as_in_the_post_quantum_draft() {
    let vector = vector(include_str!("../tests/known/hpke-xwing.txt"));
    let private = <XWing as Kem>::PrivateKey::from_bytes(&vector["private"]).unwrap();
    let public = XWing::sk_to_pk(&private);
    assert_eq!(public.to_bytes().as_slice(), vector["public"]);
    let (encapsulated, ciphertext) =
        hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, XWing>(
            &OpModeS::Base,
            &public,
            &vector["info"],
            &vector["plaintext"],
            &vector["aad"],
            &mut Told(vector["encaps"].clone()),
        )
        .unwrap();
    assert_eq!(encapsulated.to_bytes().as_slice(), vector["enc"]);
    assert_eq!(ciphertext, vector["ciphertext"]);
    let plaintext = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, XWing>(
        &OpModeR::Base,
        &private,
        &encapsulated,
        &vector["info"],
        &ciphertext,
        &vector["aad"],
    );
    assert_eq!(plaintext.unwrap(), vector["plaintext"]);
}

#[test]
fn argon2id_as_in_rfc_9106() {
    // 5.3.
    let parameters = argon2::ParamsBuilder::new()
        .m_cost(32)
        .t_cost(3)
        .p_cost(4)
        .data(argon2::AssociatedData::new(&[4; 12]).unwrap())
        .output_len(32)
        .build()
        .unwrap();
    let argon2 = argon2::Argon2::new_with_secret(
        &[3; 8],
        argon2::Algorithm::Argon2id,
        argon2::Version::V0x13,
        parameters,
    );
    let mut tag = [0; 32];
    argon2
        .unwrap()
        .hash_password_into(&[1; 32], &[2; 16], &mut tag)
        .unwrap();
    assert_eq!(
        hex::encode(tag),
        "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"
    );
}

#[test]
fn a_passphrase_is_stretched_as_by_libsodium() {
    // crypto_pwhash with crypto_pwhash_ALG_ARGON2ID13.
    let passphrase = SecretBytes::from(b"correct horse battery staple".to_vec());
    let salt = std::array::from_fn(|place| place as u8);
    let key = PassphraseCost::LEAST.stretch(&passphrase, &salt);
    assert_eq!(
        hex::encode(key.expose()),
        "818259b6310026a8e0dbac5d2e6927abcfdb07b32258fac4f61b18b80f929085"
    );
}

#[test]
fn blake3_as_in_its_test_vectors() {
    let key = b"whats the Elvish word for friend";
    let context = "BLAKE3 2019-12-27 16:29:52 test vectors context";
    assert_eq!(
        blake3::hash(b"").to_hex().as_str(),
        "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    );
    assert_eq!(
        blake3::keyed_hash(key, b"").to_hex().as_str(),
        "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26"
    );
    assert_eq!(
        hex::encode(blake3::derive_key(context, b"")),
        "2cc39783c223154fea8dfb7c1b1660f2ac2dcbd1c1de8277b0b0dd39b7e50d7d"
    );
}

/// Chance that is told beforehand.
struct Told(Vec<u8>);

impl TryRng for Told {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("only bytes are asked for")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("only bytes are asked for")
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        let rest = self.0.split_off(bytes.len());
        bytes.copy_from_slice(&self.0);
        self.0 = rest;
        Ok(())
    }
}

impl TryCryptoRng for Told {}

fn vector(text: &str) -> BTreeMap<&str, Vec<u8>> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, value)| (name, bytes(value)))
        .collect()
}

fn bytes(digits: &str) -> Vec<u8> {
    hex::decode(digits).unwrap()
}
