//! A member, as the command line names it: by name or by id.

use holdfast_client::{Client, Member, NodeId};

use crate::failure::Failure;

/// The id of the member that is meant.
pub(crate) async fn resolve(client: &Client, named: &str) -> Result<NodeId, Failure> {
    let members = client.cluster().member_list().await?.members;
    find(&members, named)
}

/// The same for a removal, which also finds one that was removed before: the last of that name.
pub(crate) async fn resolve_for_removal(client: &Client, named: &str) -> Result<Member, Failure> {
    let known = client.cluster().member_list().await?;
    match find(&known.members, named) {
        Ok(id) => known.members.into_iter().find(|member| member.id == id),
        Err(unknown) => {
            let is_meant =
                |member: &&Member| member.name == named || named.parse() == Ok(member.id.0);
            let before = known.removed.iter().rev().find(is_meant).cloned();
            return before.ok_or(unknown);
        }
    }
    .ok_or_else(|| Failure::refused(format!("there is no member {named}")))
}

fn find(members: &[Member], named: &str) -> Result<NodeId, Failure> {
    let by_name = members.iter().find(|member| member.name == named);
    let by_id = || {
        members
            .iter()
            .find(|member| named.parse() == Ok(member.id.0))
    };
    by_name
        .or_else(by_id)
        .map(|member| member.id)
        .ok_or_else(|| {
            let names: Vec<_> = members.iter().map(|member| member.name.as_str()).collect();
            Failure::refused(format!(
                "there is no member {named}; nothing was changed, the members are {}",
                names.join(", ")
            ))
        })
}

#[cfg(test)]
mod tests {
    use holdfast_client::{Role, Timestamp};

    use super::*;

    #[test]
    fn a_member_is_found_by_its_name_and_then_by_its_id() {
        let member = |id, name: &str| Member {
            id: NodeId(id),
            name: name.to_owned(),
            address: String::new(),
            role: Role::Voter,
            joined_at: Timestamp::default(),
        };
        let members = [member(1, "2"), member(2, "n2")];
        assert_eq!(find(&members, "n2").unwrap(), NodeId(2));
        assert_eq!(find(&members, "2").unwrap(), NodeId(1));
        assert_eq!(find(&members, "1").unwrap(), NodeId(1));
        let failure = find(&members, "n3").unwrap_err();
        assert!(format!("{failure:?}").contains("the members are 2, n2"));
    }
}
