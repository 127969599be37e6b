namespace Cowork.Domain;

/// <summary>What an artifact is in contract B (contracts/decisions.md, "B, the rest").</summary>
public static class ArtifactTypes
{
    /// <summary>A page <c>index.html</c> with scripts.</summary>
    public const string App = "app";

    /// <summary>Another web page.</summary>
    public const string Report = "report";

    /// <summary>A specification of a dashboard: <c>*.dashboard.json</c>, or of Vega.</summary>
    public const string Dashboard = "dashboard";

    /// <summary>Any other file.</summary>
    public const string Doc = "doc";

    public static IReadOnlyList<string> All { get; } = [App, Report, Doc, Dashboard];

    /// <summary>The type as far as a path tells: nearly every <c>index.html</c> has scripts.</summary>
    public static string OfPath(string path) =>
        path.EndsWith(".dashboard.json", StringComparison.OrdinalIgnoreCase) ? Dashboard
        : !path.EndsWith(".html", StringComparison.OrdinalIgnoreCase) && !path.EndsWith(".htm", StringComparison.OrdinalIgnoreCase) ? Doc
        : IsIndex(path) ? App
        : Report;

    /// <summary>True for the first page of an app.</summary>
    public static bool IsIndex(string path) => path[(path.LastIndexOf('/') + 1)..] is "index.html" or "index.htm";
}
