//! Programs that run other programs. They are never allow-listed, whatever their arguments: what is checked would not be what runs.
//!
//! A name counts by itself and by the file that it leads to; a file of one of these names counts under every name that it has.

use std::path::Path;

/// Kinds of programs that run others or write where they are told to, and their names.
const UNBOUNDED: &[(&str, &str)] = &[
    ("shell", "sh bash rbash dash ash zsh rzsh ksh ksh93 mksh lksh pdksh yash fish csh tcsh posh rc es elvish nu xonsh pwsh sash bsh"),
    (
        "interpreter",
        "python pypy perl ruby jruby irb node nodejs deno bun php php-cgi lua luajit tclsh wish expect guile racket sbcl clisp \
         scheme erl escript elixir iex java jshell groovy kotlin scala julia Rscript R octave gjs qjs ts-node tsx osascript gdb \
         lldb bc dc m4 gnuplot sqlite psql mysql mariadb mongo mongosh redis-cli ghc runghc ocaml swipl dotnet mono wasmtime wasmer \
         qemu-x86_64 ipython cpan jjs rlwrap socat nc ncat netcat telnet openssl facter puppet emacsclient cpulimit",
    ),
    (
        "wrapper",
        "env nice ionice nohup setsid timeout time stdbuf unbuffer script scriptreplay xargs parallel find fd fdfind watch entr \
         flock chroot unshare nsenter setpriv capsh prlimit taskset chrt numactl setarch linux32 linux64 i386 x86_64 strace ltrace \
         perf valgrind sudo doas su runuser pkexec sg newgrp start-stop-daemon systemd-run systemd-inhibit dbus-run-session \
         dbus-launch dbus-send busctl systemctl service run-parts ld.so ld-linux ld-musl catchsegv choom cgexec firejail bwrap \
         proot fakeroot faketime rtkit logrotate crontab at batch eatmydata xvfb-run xdg-open sensible-editor sensible-pager \
         sensible-browser run-mailcap see dpkg-run torsocks proxychains gosu tini dumb-init s6-svc ssh-agent gpg-agent cnf \
         command-not-found trap exec",
    ),
    ("multiplexer", "busybox toybox coreutils uutils sbase-box ubase-box toolbox tmux screen dtach abduco zellij"),
    (
        "editor or pager",
        "vi vim vim.basic vim.tiny vim.nox nvim view vimdiff rvim rview ex ed red emacs nano rnano pico joe jed mcedit mc micro kak \
         hx helix less more most pg lv man info lynx w3m elinks links bat batcat pager lesspipe lessfile zless zmore bzless xzless",
    ),
    ("text tool with a language of its own", "awk gawk mawk nawk original-awk igawk sed gsed ssed split csplit dd install tee sponge"),
    (
        "archiver",
        "tar bsdtar gtar star cpio pax zip unzip 7z 7za 7zr rar unrar ar ranlib dpkg-deb rpm2cpio borg restic duplicity rsync \
         rclone dump restore",
    ),
    (
        "build tool or package manager",
        "make gmake bmake cmake ctest ninja meson scons just task rake gradle mvn ant sbt bazel buck cargo rustc rustup go gcc cc \
         c++ g++ clang clang++ cpp ld as gold lld npm npx pnpm pnpx yarn corepack pip pipx pipenv poetry uv uvx conda mamba gem \
         bundle bundler composer apt apt-get aptitude dpkg dpkg-reconfigure snap flatpak yum dnf rpm apk pacman zypper brew nix \
         nix-shell nix-build guix easy_install virtualenv tox nox pytest jest tsc webpack vite esbuild ldconfig pkgconf latex \
         pdflatex xelatex lualatex tex luatex pdftex latexmk pandoc doxygen swig bison flex yacc lex autoconf automake",
    ),
    (
        "program of other machines or containers",
        "ssh scp sftp rsh rlogin rexec mosh autossh sshpass ssh-keygen ssh-keyscan ssh-add ansible ansible-playbook fab docker \
         dockerd podman buildah skopeo nerdctl ctr crictl runc crun containerd kubectl helm minikube k3s vagrant lxc lxd virsh qemu \
         qemu-system-x86_64 aws gcloud gsutil az terraform tofu pulumi packer curl wget aria2c ftp lftp tftp axel tcpdump nmap \
         tshark wireshark hping3",
    ),
    ("version control", "git git-shell git-upload-pack git-receive-pack gh glab hg svn svnadmin bzr cvs fossil jj tig"),
    (
        "program that changes the system",
        "mount umount fusermount losetup insmod modprobe kmod sysctl iptables nft ip tc bpftool useradd usermod userdel passwd \
         chpasswd visudo chsh update-alternatives ln cp mv rm chmod chown chgrp mknod mkfifo truncate shred reboot shutdown \
         poweroff halt init telinit kill pkill killall skykoi-gateway skykoi loginctl machinectl hostnamectl timedatectl localectl \
         debugfs gtester wall mail mailx sendmail procmail dmesg journalctl ss column dialog whiptail",
    ),
];

/// The kind of a program that runs others, by its name; none if it is not known as one.
#[must_use]
pub fn of_name(name: &str) -> Option<&'static str> {
    fn bare(name: &str) -> &str {
        name.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '_'))
    }
    fn known(wanted: &str) -> Option<&'static str> {
        let is_it = |names: &str| names.split_whitespace().any(|name| name.eq_ignore_ascii_case(wanted));
        UNBOUNDED.iter().find(|(_, names)| is_it(names)).map(|(kind, _)| *kind)
    }
    if name.starts_with("ld-") || name.starts_with("ld.so") {
        return Some("wrapper");
    }
    // Of another machine's compiler only the end of the name is its own.
    let own = name.split("-linux-gnu-").last().unwrap_or(name);
    // Such as `python3.11-config`, `git-lfs`, `docker-compose`: a family's member is as able as its head.
    let head = name.split_once(['-', '.']).map_or("", |(head, _)| head);
    [name, bare(name), bare(own), head, bare(head)].into_iter().find_map(known)
}

/// Whether a kind reads scripts, so that a script with a pinned digest may name it on its first line.
#[must_use]
pub fn reads_scripts(kind: &str) -> bool {
    matches!(kind, "shell" | "interpreter" | "text tool with a language of its own")
}

/// Every name in the table.
pub fn names() -> impl Iterator<Item = &'static str> + Clone {
    UNBOUNDED.iter().flat_map(|(_, names)| names.split_whitespace())
}

/// The last name of a path, as text.
#[must_use]
pub fn base(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_families_and_other_spellings_are_the_same_program() {
        for name in [
            "bash",
            "BASH",
            "python3",
            "python3.11",
            "perl5.36.0",
            "pip3",
            "vim.basic",
            "mawk",
            "busybox",
            "gcc-12",
            "x86_64-linux-gnu-gcc-12",
            "git-lfs",
            "docker-compose",
            "ld-linux-x86-64.so.2",
            "ld-2.31.so",
            "find",
            "qemu-system-x86_64",
            "node18",
            "nc.openbsd",
            "clang++-14",
            "php8.2",
            "tclsh8.6",
            "apt-cache",
        ] {
            assert!(of_name(name).is_some(), "{name}");
        }
        for name in ["ld-linux-x86-64.so.2", "ld-2.31.so", "ld.so.1"] {
            assert_eq!(of_name(name), Some("wrapper"), "{name} runs any program it is given");
        }
        for name in ["ls", "cat", "grep", "wc", "sort", "jq", "uname", "date", "sha256sum", "g", "deploy", "df", "tr", "cut"] {
            assert_eq!(of_name(name), None, "{name}");
        }
    }

    #[test]
    fn no_name_stands_twice() {
        let mut all: Vec<_> = names().collect();
        all.sort_unstable();
        let twice: Vec<_> = all.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }
}
