//! What keeps the private half of a node's key while the node is down.

use zeroize::Zeroizing;

use crate::secret::{SecretBytes, SymmetricKey};

/// What a thief of a node's disk has to get past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protector {
    /// Nothing but the mode of a file.
    File,
    /// A passphrase that somebody gives at each start.
    Passphrase,
    /// A credential that the service manager hands over at each start.
    SystemdCredential,
}

/// How much work one guess of a passphrase is (argon2id, RFC 9106). It is written beside the key, so
/// changing the default changes no key that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassphraseCost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// How often it is gone over.
    pub passes: u32,
    /// How many threads may share the work.
    pub lanes: u32,
}

impl Protector {
    /// As in settings and in `kvctl status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Passphrase => "passphrase",
            Self::SystemdCredential => "systemd",
        }
    }

    /// What opens it, in the words of an error.
    pub fn opened_by(self) -> &'static str {
        match self {
            Self::File => "key in the file",
            Self::Passphrase => "passphrase",
            Self::SystemdCredential => "systemd credential",
        }
    }

    /// The other direction of [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|protector| protector.name() == name)
    }

    /// All of them, weakest first.
    pub const ALL: [Self; 3] = [Self::File, Self::SystemdCredential, Self::Passphrase];

    /// What it does and does not keep a thief from, for people who decide whether that is enough.
    pub fn protects(self) -> &'static str {
        match self {
            Self::File => {
                "keeps the node key from other users of this machine, by the file's mode; not from \
                 root, nor from whoever gets the disk, an image of it or a copy of the node's \
                 folder: those read every secret"
            }
            Self::SystemdCredential => {
                "keeps the node key from whoever gets a copy of the node's folder, and from whoever \
                 gets the whole disk if the credential was encrypted to a TPM \
                 (systemd-creds --with-key=tpm2); not from root of this machine"
            }
            Self::Passphrase => {
                "keeps the node key from whoever gets the disk, an image or the folder and cannot \
                 guess the passphrase; not from root while the node runs. The node waits for the \
                 passphrase at each start"
            }
        }
    }

    pub(crate) fn tag(self) -> u8 {
        match self {
            Self::File => 1,
            Self::Passphrase => 2,
            Self::SystemdCredential => 3,
        }
    }

    pub(crate) fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|protector| protector.tag() == tag)
    }
}

impl std::fmt::Display for Protector {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

impl PassphraseCost {
    /// RFC 9106's second recommended option: 64 MiB, three passes, four lanes. About a fifth of a second.
    pub const DEFAULT: Self = Self {
        memory_kib: 64 * 1024,
        passes: 3,
        lanes: 4,
    };
    /// The least that is accepted, in a file too (OWASP's minimum): 19 MiB, two passes.
    pub const LEAST: Self = Self {
        memory_kib: 19 * 1024,
        passes: 2,
        lanes: 1,
    };
    /// The most that is accepted, so that a forged file cannot take the machine's memory: 1 GiB.
    pub const MOST: Self = Self {
        memory_kib: 1024 * 1024,
        passes: 64,
        lanes: 16,
    };

    pub(crate) fn is_accepted(self) -> bool {
        let (least, most) = (Self::LEAST, Self::MOST);
        (least.memory_kib..=most.memory_kib).contains(&self.memory_kib)
            && (least.passes..=most.passes).contains(&self.passes)
            && (least.lanes..=most.lanes).contains(&self.lanes)
    }

    /// The key that a passphrase stands for. Its bytes count as they are; no Unicode form is imposed.
    pub(crate) fn stretch(self, passphrase: &SecretBytes, salt: &[u8; 16]) -> SymmetricKey {
        let parameters = argon2::Params::new(self.memory_kib, self.passes, self.lanes, Some(32))
            .expect("accepted costs are within argon2's limits");
        let argon2 = argon2::Argon2::new(
            argon2::Algorithm::Argon2id,
            argon2::Version::V0x13,
            parameters,
        );
        let mut key = Zeroizing::new([0; 32]);
        argon2
            .hash_password_into(passphrase.expose(), salt, key.as_mut_slice())
            .expect("salt and key have lengths that argon2 takes");
        SymmetricKey::from_slice(key.as_slice()).expect("32 bytes")
    }
}

impl Default for PassphraseCost {
    fn default() -> Self {
        Self::DEFAULT
    }
}
