using System.Xml.Linq;

namespace Cowork.Tidy;

/// <summary>The working tree that the tests were built from. Paths are relative to it, with slashes.</summary>
static class Repository
{
    static readonly string[] Unkept = [".git", ".vs", ".idea", "bin", "obj", "TestResults", "node_modules", "data"];

    public static string Root { get; } = FindRoot();

    /// <summary>Every file that is written by hand.</summary>
    public static IReadOnlyList<string> Files { get; } = [.. Below(new(Root)).Select(f => Path.GetRelativePath(Root, f.FullName)).Order(StringComparer.Ordinal)];

    public static IReadOnlyList<string> Sources { get; } = [.. Files.Where(f => f.EndsWith(".cs", StringComparison.Ordinal))];

    public static IReadOnlyList<string> Projects { get; } = [.. Files.Where(f => f.EndsWith(".csproj", StringComparison.Ordinal))];

    public static IReadOnlyList<string> Documents { get; } = [.. Files.Where(f => f.EndsWith(".md", StringComparison.Ordinal))];

    public static string Read(string file) => File.ReadAllText(Path.Combine(Root, file));

    public static string[] Lines(string file) => File.ReadAllLines(Path.Combine(Root, file));

    public static XDocument Xml(string file) => XDocument.Load(Path.Combine(Root, file));

    /// <summary>The places where a file's lines break a rule, as <c>file:line: text</c>.</summary>
    public static IEnumerable<string> Where(IEnumerable<string> files, Func<string, bool> breaks) =>
        from file in files
        from line in Lines(file).Index()
        where breaks(line.Item)
        select $"{file}:{line.Index + 1}: {line.Item.Trim()}";

    static IEnumerable<FileInfo> Below(DirectoryInfo directory) =>
        directory.EnumerateFiles().Concat(directory.EnumerateDirectories().Where(d => !Unkept.Contains(d.Name) && d.LinkTarget is null).SelectMany(Below));

    static string FindRoot()
    {
        var directory = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(directory, "Cowork.sln")))
        {
            directory = Path.GetDirectoryName(directory)
                ?? throw new InvalidOperationException("These tests read the repository that they were built in, and there is none above them.");
        }
        return directory;
    }
}
