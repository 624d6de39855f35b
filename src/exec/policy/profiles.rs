//! With which arguments a listed program may run.
//!
//! A program of the table has exactly the options that stand there, spelled out: no abbreviations, no option that runs a program, writes a file or reads one that the command line does not show. Every other program has the profile of all: literal operands, none of which begins with `-`.

/// What a program may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Only its input, which is the stage before it or nothing: a name from `exec.safeBins`.
    Stdin,
    /// Files that its operands name: an entry of the approvals file.
    Files,
}

/// The options and operands of one program.
struct Profile {
    name: &'static str,
    /// Options of one letter.
    flags: &'static str,
    /// Options of one letter with a value.
    valued: &'static str,
    /// Long options, with a blank between them.
    long: &'static str,
    /// Long options with a value.
    long_valued: &'static str,
    /// Further options that make it read more files; not for [`Reach::Stdin`].
    file_flags: &'static str,
    /// How many operands are text and no file.
    texts: usize,
    /// Options that take the place of the text operands.
    instead: &'static str,
    /// Most files.
    files: usize,
    /// Whether `-5` is an option.
    numeric: bool,
}

const NONE: Profile = Profile {
    name: "",
    flags: "",
    valued: "",
    long: "",
    long_valued: "",
    file_flags: "",
    texts: 0,
    instead: "",
    files: usize::MAX,
    numeric: false,
};

/// Words of the jq language that read files.
const JQ_FILES: [&str; 3] = ["import", "include", "modulemeta"];

/// Programs whose every argument is text that they print.
const TALKERS: [&str; 4] = ["echo", "printf", "true", "false"];

const PROFILES: &[Profile] = &[
    Profile {
        name: "grep",
        flags: "EFGPivwxycLlqshnHobTzZaUI",
        valued: "emABC",
        long: "extended-regexp fixed-strings basic-regexp perl-regexp ignore-case no-ignore-case invert-match word-regexp \
            line-regexp count files-with-matches files-without-match quiet silent no-messages line-number with-filename \
            no-filename only-matching byte-offset null null-data text line-buffered",
        long_valued: "regexp max-count after-context before-context context color colour label",
        file_flags: "rR",
        texts: 1,
        instead: "e regexp",
        numeric: true,
        ..NONE
    },
    Profile {
        name: "jq",
        flags: "nrcaSCMesj",
        long: "null-input raw-output compact-output ascii-output sort-keys color-output monochrome-output exit-status slurp \
            join-output tab stream seq raw-input",
        long_valued: "indent",
        texts: 1,
        ..NONE
    },
    Profile {
        name: "cut",
        flags: "nsz",
        valued: "bcdf",
        long: "complement only-delimited zero-terminated",
        long_valued: "bytes characters delimiter fields output-delimiter",
        ..NONE
    },
    Profile {
        name: "sort",
        flags: "bdfgiMhnRrVcCmsuz",
        valued: "kt",
        long: "ignore-leading-blanks dictionary-order ignore-case general-numeric-sort ignore-nonprinting month-sort \
            human-numeric-sort numeric-sort random-sort reverse version-sort check merge stable unique zero-terminated",
        long_valued: "key field-separator",
        ..NONE
    },
    Profile {
        name: "uniq",
        flags: "cdDiuz",
        valued: "fsw",
        long: "count repeated ignore-case unique zero-terminated",
        long_valued: "skip-fields skip-chars check-chars",
        // The second operand would be written.
        files: 1,
        ..NONE
    },
    Profile {
        name: "head",
        flags: "qvz",
        valued: "nc",
        long: "quiet silent verbose zero-terminated",
        long_valued: "lines bytes",
        numeric: true,
        ..NONE
    },
    Profile {
        name: "tail",
        flags: "qvz",
        valued: "nc",
        long: "quiet silent verbose zero-terminated",
        long_valued: "lines bytes",
        numeric: true,
        ..NONE
    },
    Profile { name: "tr", flags: "cCdst", long: "complement delete squeeze-repeats truncate-set1", texts: 2, files: 0, ..NONE },
    Profile { name: "wc", flags: "clmLw", long: "bytes chars lines max-line-length words", ..NONE },
    Profile { name: "cat", flags: "AbeEnstTuv", long: "number number-nonblank squeeze-blank show-all show-ends show-tabs", ..NONE },
    Profile {
        name: "ls",
        flags: "1aAbBcCdfFgGhHiklLmnNopqQrRsStuUvxXZ",
        valued: "Iw",
        long: "all almost-all human-readable directory classify recursive reverse inode size si full-time \
            group-directories-first numeric-uid-gid no-group zero",
        long_valued: "sort time time-style color format block-size ignore hide indicator-style quoting-style",
        ..NONE
    },
    Profile {
        name: "df",
        flags: "ahHiklPT",
        valued: "Btx",
        long: "all human-readable si inodes local portability print-type total",
        long_valued: "block-size type exclude-type output",
        ..NONE
    },
    Profile {
        name: "du",
        flags: "0abchHklLmPsSx",
        valued: "Bdt",
        long: "all apparent-size bytes total human-readable si summarize one-file-system time",
        long_valued: "block-size max-depth threshold",
        ..NONE
    },
    Profile { name: "stat", flags: "Lft", valued: "c", long: "dereference file-system terse", long_valued: "format printf", ..NONE },
    Profile { name: "nl", valued: "bdfhilnsvw", flags: "p", ..NONE },
    Profile { name: "comm", flags: "123z", long: "check-order nocheck-order total zero-terminated", files: 2, ..NONE },
    Profile { name: "uname", flags: "asnrvmpio", long: "all kernel-name kernel-release machine nodename", files: 0, ..NONE },
    Profile { name: "id", flags: "gGnruz", long: "group groups name real user", texts: 1, files: 0, ..NONE },
    Profile {
        name: "date",
        flags: "uR",
        valued: "dI",
        long: "utc universal",
        long_valued: "date iso-8601 rfc-3339",
        texts: 1,
        files: 0,
        ..NONE
    },
    Profile { name: "sha256sum", flags: "btz", long: "binary text tag zero", ..NONE },
];

/// Whether the arguments, without the program's name, are within its profile.
///
/// # Errors
/// The argument that is not, and why.
pub fn check(name: &str, arguments: &[String], reach: Reach) -> Result<(), String> {
    if TALKERS.contains(&name) {
        return Ok(());
    }
    let Some(profile) = PROFILES.iter().find(|profile| profile.name == name) else {
        if reach == Reach::Stdin {
            return Err(format!("`{name}` has no profile of arguments, so exec.safeBins cannot name it; give it an entry"));
        }
        return match arguments.iter().find(|argument| argument.starts_with('-')) {
            Some(option) => Err(format!("`{option}` begins with `-`, and no options of `{name}` are known to be safe")),
            None => Ok(()),
        };
    };
    let mut read = Read { profile, reach, texts: profile.texts, operands: Vec::new() };
    read.all(arguments)?;
    read.conclude()
}

/// Whether the name stands in the table.
#[must_use]
pub fn is_known(name: &str) -> bool {
    TALKERS.contains(&name) || PROFILES.iter().any(|profile| profile.name == name)
}

/// Whether a word stands in a list of words.
fn has(words: &str, wanted: &str) -> bool {
    words.split_whitespace().any(|word| word == wanted)
}

struct Read<'a> {
    profile: &'a Profile,
    reach: Reach,
    texts: usize,
    operands: Vec<&'a str>,
}

impl<'a> Read<'a> {
    fn all(&mut self, arguments: &'a [String]) -> Result<(), String> {
        let mut rest = arguments.iter().map(String::as_str);
        while let Some(argument) = rest.next() {
            match argument {
                "--" => self.operands.extend(rest.by_ref()),
                "-" => self.operands.push("-"),
                _ => match (argument.strip_prefix("--"), argument.strip_prefix('-')) {
                    (Some(long), _) => self.long(argument, long, &mut rest)?,
                    (None, Some(letters)) => self.letters(argument, letters, &mut rest)?,
                    (None, None) => self.operands.push(argument),
                },
            }
        }
        Ok(())
    }

    fn long(&mut self, argument: &str, long: &str, rest: &mut impl Iterator<Item = &'a str>) -> Result<(), String> {
        let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
        if has(self.profile.long_valued, name) {
            // An option whose value may be left out takes none from behind; then the next word is read as what it is, which is stricter.
            if value.is_none() && !matches!(name, "color" | "colour" | "iso-8601" | "output") {
                rest.next().ok_or_else(|| format!("`{argument}` has no value"))?;
            }
        } else if value.is_some() || !has(self.profile.long, name) {
            return Err(self.unknown(argument));
        }
        self.replace(name);
        Ok(())
    }

    fn letters(&mut self, argument: &str, letters: &str, rest: &mut impl Iterator<Item = &'a str>) -> Result<(), String> {
        if self.profile.numeric && letters.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(());
        }
        for (at, letter) in letters.char_indices() {
            let behind = letters.get(at + letter.len_utf8()..).unwrap_or_default();
            if self.profile.valued.contains(letter) {
                if behind.is_empty() && !(self.profile.name == "date" && letter == 'I') {
                    rest.next().ok_or_else(|| format!("`{argument}` has no value"))?;
                }
                self.replace(letter.encode_utf8(&mut [0; 4]));
                return Ok(());
            }
            let of_files = self.reach == Reach::Files && self.profile.file_flags.contains(letter);
            if !of_files && !self.profile.flags.contains(letter) {
                return Err(self.unknown(argument));
            }
        }
        Ok(())
    }

    fn replace(&mut self, option: &str) {
        if has(self.profile.instead, option) {
            self.texts = 0;
        }
    }

    fn unknown(&self, argument: &str) -> String {
        format!("`{argument}` is not among the options of `{}` that are known to be safe", self.profile.name)
    }

    fn conclude(&self) -> Result<(), String> {
        let name = self.profile.name;
        let (texts, files) = self.operands.split_at(self.texts.min(self.operands.len()));
        if name == "jq" && texts.iter().any(|filter| JQ_FILES.iter().any(|word| filter.contains(word))) {
            return Err("the filter names a module, which is a file".to_owned());
        }
        if name == "date" && texts.iter().any(|text| !text.starts_with('+')) {
            return Err("`date` may show the time and not set it".to_owned());
        }
        let most = if self.reach == Reach::Stdin { 0 } else { self.profile.files };
        match files.iter().filter(|file| self.reach == Reach::Files || **file != "-").nth(most) {
            Some(file) if self.reach == Reach::Stdin => {
                Err(format!("`{file}` would be read as a file, and `{name}` may read its input only; give it an entry"))
            }
            Some(file) => Err(format!("`{file}` is one operand too many for `{name}`")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
