//! What a client may do, by which authority vouches for it.
//!
//! While the authority is rotated, clients go on with certificates of the old one, for services must
//! not stop. But whoever has the old key can make such certificates, too. So they earn nobody a new
//! one, nor any other act of administration: only the key of who began the rotation is certified, and
//! who has a certificate of the new authority certifies the others. That may ask again for the removal
//! that is under way, and for nothing else.

use tonic::Status;

use crate::{audit::Class, caller::Caller, host::Host, status::Reason, tls::Standing};

/// Why the caller may not call the method at `path`, which is not open to everybody; `None`: nothing
/// is said against it here.
pub(crate) fn refusal(host: &Host, path: &str, caller: &Caller) -> Option<Status> {
    match caller.standing(&host.trust) {
        Standing::Good => None,
        Standing::Shut => Some(Reason::Unauthenticated.status(RETIRED)),
        Standing::Renewed => {
            host.old_clients.lock().remove(&**caller.author());
            None
        }
        Standing::Leaving => {
            host.note_old_client(caller.author());
            let is_admin = matches!(Class::of(path), Class::Admin(_)) && path != REMOVE;
            is_admin.then(|| Reason::NotAllowed.status(LEAVING))
        }
    }
}

/// What somebody is told who asks for a member's removal, and did not begin the rotation.
pub(crate) const LEAVING: &str = "the cluster's authority is being replaced, because a removed member \
     may have given its key away: administration needs a certificate of the new authority now; nothing \
     was changed. Who began it has one: `kvctl member remove NODE --compromised`, and gives out others \
     with `kvctl identity issue`";
const RETIRED: &str = "the authority that made this certificate is trusted no more, because a removed \
     member may have given its key away; ask an operator for a new certificate (`kvctl identity issue`)";
const REMOVE: &str = "/holdfast.v1.Cluster/Remove";
