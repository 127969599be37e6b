namespace Cowork.Cli;

/// <summary>The host's own program, for commands that start it or ask it.</summary>
static class HostProgram
{
    public static string Repository { get; } = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "../../../../.."));

    /// <summary>Where it lies when it is built: beside this program, or in the checkout.</summary>
    public static string Dll { get; } =
        Path.Combine(AppContext.BaseDirectory, "Cowork.Web.dll") is var beside && File.Exists(beside)
            ? beside
            : Path.Combine(
                Repository, "src/Cowork.Web", Path.GetRelativePath(Path.Combine(Repository, "src/Cowork.Cli"), AppContext.BaseDirectory), "Cowork.Web.dll");
}
