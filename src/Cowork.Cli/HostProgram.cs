namespace Cowork.Cli;

/// <summary>The host's own program, for commands that start it or ask it.</summary>
static class HostProgram
{
    public static string Repository { get; } = FindRepository();

    /// <summary>Where it lies when it is built: beside this program, or in the checkout.</summary>
    public static string Dll { get; } =
        Path.Combine(AppContext.BaseDirectory, "Cowork.Web.dll") is var beside && File.Exists(beside)
            ? beside
            : Path.Combine(
                Repository, "src/Cowork.Web", Path.GetRelativePath(Path.Combine(Repository, "src/Cowork.Cli"), AppContext.BaseDirectory), "Cowork.Web.dll");

    /// <summary>The checkout that this was built in; without one, the topmost folder, in which nothing is found.</summary>
    static string FindRepository()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (folder.Parent is not null && !File.Exists(Path.Combine(folder.FullName, "Cowork.sln")))
        {
            folder = folder.Parent;
        }
        return folder.FullName;
    }
}
