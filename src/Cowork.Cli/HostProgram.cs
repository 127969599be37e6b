namespace Cowork.Cli;

/// <summary>Finds the host's program, for commands that start it.</summary>
static class HostProgram
{
    public static string Repository { get; } = FindRepository();

    /// <summary>Path of the host's program: beside this one, else in the checkout with the same configuration and framework. It may not be built.</summary>
    public static string Dll { get; } =
        Path.Combine(AppContext.BaseDirectory, "Cowork.Web.dll") is var beside && File.Exists(beside)
            ? beside
            : Path.Combine(
                Repository, "src/Cowork.Web", Path.GetRelativePath(Path.Combine(Repository, "src/Cowork.Cli"), AppContext.BaseDirectory), "Cowork.Web.dll");

    /// <summary>The checkout that contains this program; without a checkout, the root folder.</summary>
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
