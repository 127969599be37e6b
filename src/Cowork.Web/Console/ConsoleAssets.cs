using System.Collections.Concurrent;
using System.Collections.Frozen;
using System.Security.Cryptography;
using System.Text;

namespace Cowork.Web;

/// <summary>
/// The files of the console: those that the program has in it, or, for who works on them, those of a folder. They have one version, which stands in the address of each, so
/// that a browser keeps them for good and never has files of two versions.
/// </summary>
public sealed class ConsoleAssets
{
    /// <summary>
    /// The document of every page. In it <c>{base}</c> leads to /console/ from where it is, <c>{files}</c> from there to the files, and <c>{modules}</c> names the modules.
    /// </summary>
    const string Document = "index.html";

    /// <summary>The frame in which pages that agents wrote are shown.</summary>
    public const string Preview = "preview.html";

    const string Prefix = "console/";

    readonly Func<FrozenDictionary<string, ConsoleFile>> load;
    readonly Lazy<FrozenDictionary<string, ConsoleFile>> kept;
    readonly Lazy<string> version;
    readonly ConcurrentDictionary<int, ConsoleFile> documents = [];
    readonly string? folder;

    /// <param name="folder">Its files are read for every request; null: the program's own.</param>
    public ConsoleAssets(string? folder)
    {
        this.folder = folder;
        load = folder is null ? Embedded : () => InFolder(folder);
        kept = new(load);
        version = new(() => VersionOf(kept.Value));
    }

    /// <summary>Whether an address that names the version always leads to the same bytes.</summary>
    public bool AreKept => folder is null;

    public string Version => AreKept ? version.Value : "now";

    FrozenDictionary<string, ConsoleFile> Files => AreKept ? kept.Value : load();

    /// <summary>A file by its path: <c>js/app.js</c>. Null: there is none.</summary>
    public ConsoleFile? Find(string path) => path != Document && Files.TryGetValue(path, out var file) ? file : null;

    /// <summary>The document for an address so many folders below /console/.</summary>
    public ConsoleFile DocumentAt(int depth) => AreKept ? documents.GetOrAdd(depth, MakeDocument) : MakeDocument(depth);

    /// <summary>The address is relative, so that the console works behind a proxy that serves it below a prefix of its own.</summary>
    ConsoleFile MakeDocument(int depth)
    {
        var files = Files;
        var modules = files.Keys.Where(IsNeededAtOnce).Order(StringComparer.Ordinal).Select(path => $"<link rel=\"modulepreload\" href=\"-/{Version}/{path}\">");
        var html = Encoding.UTF8.GetString(files[Document].Bytes)
            .Replace("{base}", depth == 0 ? "./" : string.Concat(Enumerable.Repeat("../", depth)), StringComparison.Ordinal)
            .Replace("{files}", $"-/{Version}", StringComparison.Ordinal)
            .Replace("{modules}", string.Join("\n", modules), StringComparison.Ordinal);
        return new(Document, Encoding.UTF8.GetBytes(html));
    }

    /// <summary>Pages, and what one page alone needs, come when it is opened.</summary>
    static bool IsNeededAtOnce(string path) =>
        path.StartsWith("js/", StringComparison.Ordinal) && path.EndsWith(".js", StringComparison.Ordinal) && path.Count(c => c == '/') == 1
        && path != "js/live-worker.js";

    static FrozenDictionary<string, ConsoleFile> Embedded()
    {
        var program = typeof(ConsoleAssets).Assembly;
        return program.GetManifestResourceNames().Where(name => name.StartsWith(Prefix, StringComparison.Ordinal)).Select(name =>
        {
            using var resource = program.GetManifestResourceStream(name)!;
            var bytes = new byte[resource.Length];
            resource.ReadExactly(bytes);
            return (Path: name[Prefix.Length..].Replace('\\', '/'), bytes);
        }).ToFrozenDictionary(file => file.Path, file => new ConsoleFile(file.Path, file.bytes));
    }

    static FrozenDictionary<string, ConsoleFile> InFolder(string folder) => Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories)
        .Where(file => !file.EndsWith(".cs", StringComparison.Ordinal))
        .Select(file => (Path: Path.GetRelativePath(folder, file).Replace('\\', '/'), Bytes: File.ReadAllBytes(file)))
        .ToFrozenDictionary(file => file.Path, file => new ConsoleFile(file.Path, file.Bytes));

    static string VersionOf(IReadOnlyDictionary<string, ConsoleFile> files)
    {
        using var all = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var (path, file) in files.OrderBy(file => file.Key, StringComparer.Ordinal))
        {
            all.AppendData(Encoding.UTF8.GetBytes($"{path} {file.Digest}\n"));
        }
        return Convert.ToHexStringLower(all.GetHashAndReset())[..16];
    }
}
