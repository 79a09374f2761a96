//! `kvagent check`: what can be said without a server.

use std::process::ExitCode;

use crate::{
    arguments::Check,
    failure::{Exit, Failure, chain},
    render,
    set::Owner,
    settings::{SetSettings, Settings},
};

pub(crate) fn run(check: &Check) -> Result<ExitCode, Failure> {
    let settings = Settings::load(&check.config)?;
    let wrong: Vec<String> = settings.sets.iter().flat_map(look_at).collect();
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
