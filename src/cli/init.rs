//! `init`: the first configuration file.

use super::error::{CliError, OK};
use super::output::Output;
use super::start::InitArgs;
use crate::config::init::{default_file, new_token, write_new};
use crate::config::paths::Paths;

/// Runs the command. An existing file is left alone and is no error, so that it can be called by scripts.
///
/// # Errors
/// The file cannot be made.
pub fn run(args: &InitArgs, out: &mut Output<'_>) -> Result<u8, CliError> {
    let paths = Paths::find(&args.place.sources()).map_err(|error| CliError::Usage(error.to_string()))?;
    let path = &paths.config_path;
    let token = new_token().map_err(|error| CliError::Local(error.to_string()))?;
    match write_new(path, &default_file(&token, &paths.state_dir.join("workspace"))) {
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
        let args = InitArgs { place: PlaceArgs { config: Some(dir.join("c.json")), state_dir: Some(dir.to_owned()) } };
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
    fn a_file_that_cannot_be_made_ends_with_73() {
        let error = init(std::path::Path::new("/proc/nowhere")).0.unwrap_err();
        assert_eq!(error.exit_code(), crate::cli::error::CANNOT_CREATE);
        assert!(error.to_string().contains("/proc/nowhere/c.json"), "{error}");
    }
}
