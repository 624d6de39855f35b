//! `init`: the first configuration file.

use super::error::{CliError, OK};
use super::output::Output;
use super::start::InitArgs;
use crate::config::init::{default_file, new_token, with_programs, write_new};
use crate::config::paths::Paths;
use crate::exec::program::find;

/// Runs the command. An existing file is left alone and is no error, so that it can be called by scripts.
///
/// # Errors
/// The file cannot be made, or the place of a program is no absolute path.
pub fn run(args: &InitArgs, out: &mut Output<'_>) -> Result<u8, CliError> {
    let given = [("codex", &args.codex_bin), ("claude", &args.claude_bin)];
    let programs: Vec<_> = given.into_iter().filter_map(|(name, path)| Some((name, path.as_deref()?))).collect();
    for (name, path) in &programs {
        if !path.is_absolute() {
            return Err(CliError::Usage(format!("--{name}-bin: {} is no absolute path", path.display())));
        }
        // It may be installed later: a program that is missing keeps nothing else from working.
        if find(&path.to_string_lossy(), None).is_none() {
            out.say(&format!("--{name}-bin: {} is not there yet, or is no program", path.display()));
        }
    }
    let paths = Paths::find(&args.place.sources()).map_err(|error| CliError::Usage(error.to_string()))?;
    let path = &paths.config_path;
    let token = new_token().map_err(|error| CliError::Local(error.to_string()))?;
    let text = with_programs(default_file(&token, &paths.state_dir.join("workspace")), &programs);
    match write_new(path, &text) {
        Ok(()) => out.say("wrote the configuration; gateway.auth.token in it is the token for other machines"),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            out.say("the configuration exists already and was left as it is")
        }
        Err(error) => return Err(CliError::Create { path: path.clone(), error }),
    }
    out.line(&path.display().to_string())?;
    Ok(OK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::start::PlaceArgs;

    fn init(dir: &std::path::Path) -> (Result<u8, CliError>, String) {
        let (mut result, mut talk) = (Vec::new(), Vec::new());
        let args = InitArgs {
            place: PlaceArgs { config: Some(dir.join("c.json")), state_dir: Some(dir.to_owned()) },
            codex_bin: None,
            claude_bin: None,
        };
        let ended = run(&args, &mut Output { result: &mut result, talk: &mut talk });
        (ended, String::from_utf8(result).unwrap())
    }

    #[test]
    fn the_file_is_written_once_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let (ended, named) = init(dir.path());
        assert_eq!(ended.unwrap(), OK);
        assert_eq!(named.trim(), dir.path().join("c.json").to_str().unwrap());
        let first = std::fs::read(dir.path().join("c.json")).unwrap();
        assert_eq!(init(dir.path()).0.unwrap(), OK);
        assert_eq!(std::fs::read(dir.path().join("c.json")).unwrap(), first);
    }

    #[test]
    fn places_of_programs_are_written_down_and_must_be_absolute() {
        let dir = tempfile::tempdir().unwrap();
        let place = PlaceArgs { config: Some(dir.path().join("c.json")), state_dir: Some(dir.path().to_owned()) };
        let of = |codex: &str, claude: &str| {
            let args = InitArgs { place: place.clone(), codex_bin: Some(codex.into()), claude_bin: Some(claude.into()) };
            let (mut result, mut talk) = (Vec::new(), Vec::new());
            let ended = run(&args, &mut Output { result: &mut result, talk: &mut talk });
            (ended, String::from_utf8(talk).unwrap())
        };
        assert!(of("codex", "/bin/sh").0.unwrap_err().to_string().contains("--codex-bin"));
        let (ended, said) = of("/no/codex", "/bin/sh");
        assert!(ended.is_ok() && said.contains("/no/codex is not there yet") && !said.contains("/bin/sh"), "{said}");
        let text = std::fs::read_to_string(dir.path().join("c.json")).unwrap();
        assert!(text.contains(r#"codex: { command: "/no/codex" }"#) && text.contains(r#"claude: { command: "/bin/sh" }"#), "{text}");
    }

    #[test]
    fn a_file_that_cannot_be_made_ends_with_73() {
        let error = init(std::path::Path::new("/proc/nowhere")).0.unwrap_err();
        assert_eq!(error.exit_code(), crate::cli::error::CANNOT_CREATE);
        assert!(error.to_string().contains("/proc/nowhere/c.json"), "{error}");
    }
}
