using System.Text.Json;

using Cowork.Application;

namespace Cowork.Kernels;

/// <summary>A specification of Jupyter (kernel.json) whose program lies below <c>/usr</c>, where a sandbox sees it.</summary>
/// <param name="Arguments">Program and arguments; <c>{connection_file}</c> stands for the file that tells where it listens.</param>
/// <param name="IsInterruptedByMessage">By a message instead of SIGINT.</param>
sealed record InstalledKernel(KernelSpec Spec, IReadOnlyList<string> Arguments, IReadOnlyDictionary<string, string> Environment, bool IsInterruptedByMessage)
{
    public bool IsPython => Spec.Language == "python";
}

/// <summary>Finds the kernels that are installed for all users. Those in a user's home cannot be seen from a sandbox.</summary>
static class InstalledKernels
{
    static readonly string[] Folders = ["/usr/share/jupyter/kernels", "/usr/local/share/jupyter/kernels"];

    static readonly string[] ProgramFolders = ["/usr/bin", "/usr/local/bin"];

    const string Default = "python3";

    /// <summary>The default first, then by name.</summary>
    public static IReadOnlyList<InstalledKernel> Find() =>
    [
        .. Folders.Where(Directory.Exists).SelectMany(Directory.GetDirectories).Select(Read).OfType<InstalledKernel>()
            .DistinctBy(k => k.Spec.Name)
            .OrderBy(k => k.Spec.Name != Default).ThenBy(k => k.Spec.Name, StringComparer.Ordinal),
    ];

    static InstalledKernel? Read(string folder)
    {
        try
        {
            using var json = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(folder, "kernel.json")));
            var spec = json.RootElement;
            var arguments = spec.GetProperty("argv").EnumerateArray().Select(a => a.GetString()!.Replace("{resource_dir}", folder, StringComparison.Ordinal)).ToList();
            var name = Path.GetFileName(folder);
            if (arguments.Count == 0 || Program(arguments[0]) is not { } program || !arguments.Exists(a => a.Contains("{connection_file}", StringComparison.Ordinal)))
            {
                return null;
            }
            arguments[0] = program;
            if (arguments.Contains("ipykernel_launcher"))
            {
                // A history of inputs that nobody reads would be written to disk.
                arguments.Add("--HistoryManager.enabled=False");
            }
            var variables = spec.TryGetProperty("env", out var env) ? env.EnumerateObject().ToDictionary(v => v.Name, v => v.Value.GetString()!) : [];
            return new(
                new(name, spec.GetProperty("language").GetString()!.ToLowerInvariant(), spec.GetProperty("display_name").GetString() ?? name),
                arguments, variables, spec.TryGetProperty("interrupt_mode", out var mode) && mode.GetString() == "message");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException or KeyNotFoundException or InvalidOperationException or NullReferenceException)
        {
            return null; // no specification, or a broken one
        }
    }

    static string? Program(string named) => named.StartsWith('/')
        ? named.StartsWith("/usr/", StringComparison.Ordinal) && File.Exists(named) ? named : null
        : ProgramFolders.Select(folder => Path.Combine(folder, named)).FirstOrDefault(File.Exists);
}
