//! The header of a stream: for whom it was sealed, and the file's key for each of them.

use std::io::Read;

use rand_core::CryptoRng;

use super::{NONCE_PREFIX_LENGTH, StreamError};
use crate::aead;
use crate::bind::{Binding, derived, purpose};
use crate::epoch::{Epoch, EpochKey, Lineage, Recipient};
use crate::hybrid::PublicKey;
use crate::keyring::Keyring;
use crate::node_key::NodeKey;
use crate::recovery::RecoveryKey;
use crate::secret::{SecretBytes, SymmetricKey};

const MAGIC: &[u8; 8] = b"HFSTREAM";
const FORMAT: u8 = 1;

/// Who will be able to read a stream.
#[derive(Clone, Copy, Debug)]
pub enum Reader<'a> {
    /// Whoever has this key.
    Key(&'a SymmetricKey),
    /// Whoever has the keyring.
    Epoch(&'a EpochKey),
    /// A member with its node key, or the holders of the recovery shares; without any keyring.
    Holder(Recipient, &'a PublicKey),
}

/// With what a stream is opened.
#[derive(Clone, Copy, Debug)]
pub enum Unlock<'a> {
    /// The key that it was sealed with.
    Key(&'a SymmetricKey),
    /// The keyring.
    Keyring(&'a Keyring),
    /// The node key of a member.
    Member(u64, &'a NodeKey),
    /// The recovery key.
    Recovery(&'a RecoveryKey),
}

/// A header that was read, and the key that was in it.
pub(super) struct Opened {
    pub(super) bytes: Vec<u8>,
    pub(super) key: SymmetricKey,
    pub(super) nonce_prefix: [u8; NONCE_PREFIX_LENGTH],
    pub(super) lineage: Option<Lineage>,
}

/// The file's key, for one reader. A kind that is not known is skipped: formats only add.
struct Stanza<'a> {
    tag: u8,
    body: &'a [u8],
}

mod tag {
    pub(super) const KEY: u8 = 1;
    pub(super) const EPOCH: u8 = 2;
    pub(super) const MEMBER: u8 = 3;
    pub(super) const RECOVERY: u8 = 4;
}

/// Writes a header.
///
/// # Panics
/// If there are more than 255 readers.
pub(super) fn write(
    random: &mut impl CryptoRng,
    lineage: Option<&Lineage>,
    bound_to: &[u8],
    readers: &[Reader<'_>],
    file_key: &SymmetricKey,
    nonce_prefix: &[u8; NONCE_PREFIX_LENGTH],
) -> Vec<u8> {
    let lineage = lineage.map_or("", Lineage::as_str);
    let mut header = Vec::new();
    header.extend_from_slice(MAGIC);
    header.push(FORMAT);
    header.push(u8::try_from(lineage.len()).expect("a lineage has at most 128 bytes"));
    header.extend_from_slice(lineage.as_bytes());
    header.push(u8::try_from(readers.len()).expect("at most 255 readers"));
    for reader in readers {
        let start = header.len();
        header.extend_from_slice(&[0; 3]);
        let binding = file_key_binding(lineage, bound_to);
        let tag = match reader {
            Reader::Key(key) => {
                let key = key.derive(derived::KEY_FILES);
                let binding = binding.bytes(b"key").number(0);
                aead::seal_to(
                    &mut header,
                    random,
                    &key,
                    binding.as_bytes(),
                    file_key.expose(),
                );
                tag::KEY
            }
            Reader::Epoch(epoch) => {
                let number = epoch.epoch().number();
                header.extend_from_slice(&number.to_be_bytes());
                let binding = binding.bytes(b"epoch").number(number);
                let key = epoch.file_key();
                aead::seal_to(
                    &mut header,
                    random,
                    &key,
                    binding.as_bytes(),
                    file_key.expose(),
                );
                tag::EPOCH
            }
            Reader::Holder(recipient, public) => {
                let binding = recipient.bind(binding);
                if let Recipient::Member(id) = recipient {
                    header.extend_from_slice(&id.to_be_bytes());
                }
                public.seal_to(&mut header, random, binding.as_bytes(), file_key.expose());
                match recipient {
                    Recipient::Member(_) => tag::MEMBER,
                    Recipient::Recovery => tag::RECOVERY,
                }
            }
        };
        let length = u16::try_from(header.len() - start - 3).expect("a stanza is at most 1.2 KiB");
        header[start] = tag;
        header[start + 1..start + 3].copy_from_slice(&length.to_be_bytes());
    }
    header.extend_from_slice(nonce_prefix);
    header
}

/// Reads a header and opens the file's key.
pub(super) fn open(
    source: &mut impl Read,
    bound_to: &[u8],
    unlock: &Unlock<'_>,
) -> std::io::Result<Opened> {
    let mut bytes = Vec::new();
    let start = take(source, &mut bytes, MAGIC.len() + 1);
    if !bytes.starts_with(MAGIC) && !MAGIC.starts_with(&bytes) {
        return Err(StreamError::NotAStream.into());
    }
    start?;
    match bytes[MAGIC.len()] {
        FORMAT => {}
        0 => return Err(StreamError::Header.into()),
        found => return Err(StreamError::NewerFormat { found }.into()),
    }
    take(source, &mut bytes, 1)?;
    let length = usize::from(bytes[bytes.len() - 1]);
    let lineage = take(source, &mut bytes, length)?;
    let lineage = std::str::from_utf8(&bytes[lineage])
        .map_err(|_| StreamError::Header)?
        .to_owned();
    take(source, &mut bytes, 1)?;
    let mut stanzas = Vec::new();
    for _ in 0..bytes[bytes.len() - 1] {
        let head = take(source, &mut bytes, 3)?;
        let [tag, high, low] = bytes[head] else {
            unreachable!("three bytes were taken")
        };
        let body = take(
            source,
            &mut bytes,
            usize::from(u16::from_be_bytes([high, low])),
        )?;
        stanzas.push((tag, body));
    }
    let prefix = take(source, &mut bytes, NONCE_PREFIX_LENGTH)?;
    let nonce_prefix = bytes[prefix].try_into().expect("as many as were taken");
    let stanzas: Vec<_> = stanzas
        .into_iter()
        .map(|(tag, body)| Stanza {
            tag,
            body: &bytes[body],
        })
        .collect();
    let key = file_key(&lineage, bound_to, unlock, &stanzas)?;
    Ok(Opened {
        key,
        nonce_prefix,
        lineage: Lineage::new(&lineage),
        bytes,
    })
}

fn file_key(
    lineage: &str,
    bound_to: &[u8],
    unlock: &Unlock<'_>,
    stanzas: &[Stanza<'_>],
) -> Result<SymmetricKey, StreamError> {
    let mut failure = None;
    for stanza in stanzas {
        let binding = file_key_binding(lineage, bound_to);
        match stanza.open(binding, unlock) {
            None => {}
            Some(Ok(opened)) => {
                return SymmetricKey::from_slice(opened.expose()).ok_or(StreamError::Header);
            }
            // There may be another one for the same kind of reader.
            Some(Err(error)) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| StreamError::NotForThisKey {
        readers: in_words(stanzas),
    }))
}

impl Stanza<'_> {
    /// `None` if it is for another reader.
    fn open(
        &self,
        binding: Binding,
        unlock: &Unlock<'_>,
    ) -> Option<Result<SecretBytes, StreamError>> {
        let opened = match (self.tag, unlock) {
            (tag::KEY, Unlock::Key(key)) => {
                let binding = binding.bytes(b"key").number(0);
                aead::open(
                    &key.derive(derived::KEY_FILES),
                    binding.as_bytes(),
                    self.body,
                )
            }
            (tag::EPOCH, Unlock::Keyring(keyring)) => {
                let Some((epoch, sealed)) = self.numbered() else {
                    return Some(Err(StreamError::Header));
                };
                let Some(epoch) = Epoch::new(epoch) else {
                    return Some(Err(StreamError::Header));
                };
                let Some(key) = keyring.key(epoch) else {
                    return Some(Err(StreamError::EpochUnknown {
                        epoch,
                        newest: keyring.newest().epoch(),
                    }));
                };
                let binding = binding.bytes(b"epoch").number(epoch.number());
                aead::open(&key.file_key(), binding.as_bytes(), sealed)
            }
            (tag::MEMBER, Unlock::Member(member, node_key)) => {
                let (id, sealed) = self.numbered()?;
                if id != *member {
                    return None;
                }
                let binding = Recipient::Member(id).bind(binding);
                node_key.pair().open(binding.as_bytes(), sealed)
            }
            (tag::RECOVERY, Unlock::Recovery(recovery)) => {
                let binding = Recipient::Recovery.bind(binding);
                recovery.pair().open(binding.as_bytes(), self.body)
            }
            _ => return None,
        };
        Some(opened.map_err(|_| StreamError::FileKey))
    }

    fn numbered(&self) -> Option<(u64, &[u8])> {
        let (number, rest) = self.body.split_first_chunk()?;
        Some((u64::from_be_bytes(*number), rest))
    }
}

fn file_key_binding(lineage: &str, bound_to: &[u8]) -> Binding {
    Binding::of(purpose::FILE_KEY)
        .bytes(lineage.as_bytes())
        .bytes(bound_to)
}

/// Whom the stanzas are for, as far as is known.
fn in_words(stanzas: &[Stanza<'_>]) -> String {
    if stanzas.is_empty() {
        return "nobody".to_owned();
    }
    let words: Vec<_> = stanzas
        .iter()
        .map(|stanza| match (stanza.tag, stanza.numbered()) {
            (tag::KEY, _) => "a key of its own".to_owned(),
            (tag::EPOCH, Some((epoch, _))) => format!("the keyring at epoch {epoch}"),
            (tag::MEMBER, Some((id, _))) => format!("member {id}"),
            (tag::RECOVERY, _) => "the recovery key".to_owned(),
            (other, _) => format!("a reader of kind {other}, which this program does not know"),
        })
        .collect();
    words.join(", ")
}

/// Appends the next bytes, and says where they are.
fn take(
    source: &mut impl Read,
    bytes: &mut Vec<u8>,
    length: usize,
) -> std::io::Result<std::ops::Range<usize>> {
    let start = bytes.len();
    let read = source.by_ref().take(length as u64).read_to_end(bytes)?;
    if read < length {
        return Err(StreamError::Header.into());
    }
    Ok(start..start + length)
}
