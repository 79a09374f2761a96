//! `kvagent check`: what can be said without a server.

use std::process::ExitCode;

use crate::{
    arguments::Check,
    failure::{Exit, Failure, chain},
    render,
    set::Owner,
    settings::{SetSettings, Settings, SocketSettings},
};

pub(crate) fn run(check: &Check) -> Result<ExitCode, Failure> {
    let settings = Settings::load(&check.config)?;
    let mut wrong: Vec<String> = settings.sets.iter().flat_map(look_at).collect();
    wrong.extend(settings.socket.iter().flat_map(nobodies));
    if !wrong.is_empty() {
        return Err(Failure::new(Exit::Refused, wrong.join("\n")));
    }
    anstream::println!(
        "{} is sound: {} set(s) of files",
        check.config.display(),
        settings.sets.len()
    );
    Ok(ExitCode::SUCCESS)
}

/// What is wrong with a set: templates that do not parse, users that do not exist.
fn look_at(set: &SetSettings) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in &set.files {
        let path = file.path.display();
        if let Some(template) = &file.template
            && let Err(error) = render::check(template)
        {
            wrong.push(format!("set[{}].file[{path}]: {}", set.name, chain(&error)));
        }
        let user = file.owner.as_deref().or(set.owner.as_deref());
        let group = file.group.as_deref().or(set.group.as_deref());
        if let Err(why) = Owner::of(user, group) {
            wrong.push(format!("set[{}].file[{path}] {why}", set.name));
        }
    }
    wrong
}

/// What is wrong with who is let in: users and groups that do not exist.
fn nobodies(socket: &SocketSettings) -> Vec<String> {
    let mut wrong = Vec::new();
    for (place, allow) in socket.allow.iter().enumerate() {
        if let Err(why) = Owner::of(allow.user.as_deref(), allow.group.as_deref()) {
            wrong.push(format!("socket.allow[{place}] {why}"));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test says so by failing")]

    use super::*;

    #[test]
    fn entries_for_users_and_groups_that_do_not_exist_are_named_by_their_place() {
        let socket: SocketSettings = toml::from_str(
            "allow = [{ user = \"root\" }, { user = \"no-such-user\" }, { group = \"no-such-group\" }]",
        )
        .unwrap();
        let wrong = nobodies(&socket);
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong[0].starts_with("socket.allow[1]") && wrong[0].contains("user"));
        assert!(wrong[1].starts_with("socket.allow[2]") && wrong[1].contains("group"));
    }
}
