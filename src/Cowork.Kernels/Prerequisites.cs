using System.ComponentModel;
using System.Diagnostics;
using System.Text.RegularExpressions;

using Cowork.Application;

namespace Cowork.Kernels;

/// <summary>What kernels need of the machine, and what to do where it is missing.</summary>
static partial class Prerequisites
{
    public const string NoKernel = "No kernel of Jupyter is installed for all users (below /usr). Install one: apt-get install --no-install-recommends python3-ipykernel";

    /// <summary>Words of bubblewrap, unshare and mount for a system that lets this user make no namespaces.</summary>
    static readonly string[] NamespaceErrors =
    [
        "namespace", "uid map", "setting up gid map", "unshare failed", "unshare: ", "RTM_NEWADDR", "Can't mount proc", "Can't mount devpts", "Failed to make / slave", "mount: ",
        "max_user_namespaces", "setpriv: ", "pivot_root",
    ];

    /// <summary>What is missing, and what to install or allow; null: nothing that is known. It looks after a start failed, and only then.</summary>
    /// <param name="errors">What the sandbox said.</param>
    public static async Task<string?> Explain(string errors, CancellationToken ct)
    {
        List<string> packages =
        [
            .. File.Exists(SandboxCommand.Bubblewrap) ? (string[])[] : ["bubblewrap"],
            .. await MissingModules(ct),
            .. MissingModule().Matches(errors).Select(m => m.Groups["module"].Value).Where(Modules.Contains).Select(PackageOf),
        ];
        var missing = ((string[])["unshare", "setpriv", "mount"]).Where(p => GrantedFolder.IsRoot && !File.Exists($"/usr/bin/{p}") && !File.Exists($"/bin/{p}"));
        packages.AddRange(missing.Any() || !File.Exists("/usr/bin/prlimit") ? ["util-linux", "mount"] : []);
        if (packages.Count > 0)
        {
            return $"Cells need programs that are not installed. Install them: apt-get install --no-install-recommends {string.Join(' ', packages.Distinct())}";
        }
        return NamespaceErrors.Any(word => errors.Contains(word, StringComparison.Ordinal))
            ? $"Cells need namespaces, and the system refuses to make them ({FirstLine(errors)}). {WhatToAllow()}"
            : null;
    }

    /// <summary>What a sandbox said, on one line: its beginning, and its end, where a stack trace has its reason.</summary>
    public static string Shorten(string errors)
    {
        const int Begin = 120;
        const int End = 280;
        var line = FileText.OneLine(errors);
        return line.Length <= Begin + End ? line : $"{line[..Begin]} … {line[^End..]}";
    }

    [GeneratedRegex("No module named '?(?<module>[a-z_]+?)(_launcher)?(?![a-z_])")]
    private static partial Regex MissingModule();

    /// <summary>Modules whose packages of Debian are named after them.</summary>
    static readonly string[] Modules = ["ipykernel", "jupyter_client", "zmq", "traitlets", "tornado"];

    static string PackageOf(string module) => $"python3-{module.Replace('_', '-')}";

    static string WhatToAllow() =>
        IsOff("/proc/sys/kernel/unprivileged_userns_clone", "0") ? "Allow user namespaces: sysctl -w kernel.unprivileged_userns_clone=1"
        : IsOff("/proc/sys/user/max_user_namespaces", "0") ? "Allow user namespaces: sysctl -w user.max_user_namespaces=10000"
        : IsOff("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") && !IsInContainer
            ? "Allow them for bubblewrap by a profile of AppArmor, or for all: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
        : "In a container, start it with --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined"
            + (GrantedFolder.IsRoot ? ", as another user than root or with --cap-add SYS_ADMIN" : "")
            + "; on a machine of Ubuntu also: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0";

    static bool IsInContainer => File.Exists("/.dockerenv") || File.Exists("/run/.containerenv");

    static bool IsOff(string setting, string value) => File.Exists(setting) && File.ReadAllText(setting).Trim() == value;

    static string FirstLine(string errors) => FileText.Truncate(FileText.OneLine(errors.Split('\n').LastOrDefault(l => l.Trim().Length > 0) ?? ""), 200);

    /// <summary>Packages of Debian whose modules the system's Python does not find.</summary>
    static async Task<IReadOnlyList<string>> MissingModules(CancellationToken ct)
    {
        const string Look = "import importlib.util as u; print(*[m for m in ('ipykernel', 'jupyter_client') if u.find_spec(m) is None])";
        try
        {
            var start = new ProcessStartInfo(SandboxCommand.Python, ["-I", "-c", Look]) { RedirectStandardOutput = true, RedirectStandardError = true };
            start.Environment.Clear();
            using var python = Process.Start(start)!;
            var found = await python.StandardOutput.ReadToEndAsync(ct);
            await python.WaitForExitAsync(ct);
            return [.. found.Split((char[])[' ', '\n'], StringSplitOptions.RemoveEmptyEntries).Select(PackageOf)];
        }
        catch (Win32Exception)
        {
            return ["python3", "python3-ipykernel", "python3-jupyter-client"];
        }
    }
}
