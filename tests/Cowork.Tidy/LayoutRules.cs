using Xunit;

namespace Cowork.Tidy;

public sealed class LayoutRules
{
    /// <summary>A project may know those of a lower rank. The host and the tool do not know each other.</summary>
    static readonly Dictionary<string, int> Ranks = new()
    {
        ["Cowork.Domain"] = 0,
        ["Cowork.Application"] = 1,
        ["Cowork.Documents"] = 1,
        ["Cowork.Connectors"] = 2,
        ["Cowork.Kernels"] = 2,
        ["Cowork.Projections"] = 2,
        ["Cowork.Marten"] = 3,
        ["Cowork.Marten.Generated"] = 4,
        ["Cowork.Web"] = 5,
        ["Cowork.Cli"] = 5,
    };

    static IEnumerable<string> SourceProjects => Repository.Projects.Where(p => p.StartsWith("src/", StringComparison.Ordinal));

    [Fact]
    public void References_follow_the_one_arrow() => Rule.Holds(
        from project in SourceProjects
        from reference in References(project)
        where !(Rank(reference) < Rank(NameOf(project)))
        select $"{project} -> {reference}",
        "Domain <- Application <- Projections <- Marten <- Web and Cli. Move what you need down, or pass it in from above:");

    [Fact]
    public void Every_project_has_its_rank() => Rule.Holds(
        SourceProjects.Where(p => Rank(NameOf(p)) is null),
        "A new project needs its place in the arrow: add it to LayoutRules.Ranks. (There is no Core, Common or Shared.)");

    [Fact]
    public void The_domain_needs_nothing_but_the_base_library() => Rule.Holds(
        from element in Repository.Xml("src/Cowork.Domain/Cowork.Domain.csproj").Descendants()
        where element.Name.LocalName.EndsWith("Reference", StringComparison.Ordinal)
        select element.ToString(),
        "The domain is pure C#. What needs a package belongs into Application or further out:");

    /// <summary>A hostile document must find its parser in a process that has nothing else.</summary>
    [Fact]
    public void The_host_reads_no_document_itself() => Rule.Holds(
        Repository.Where(
            Repository.Sources.Where(f => f.StartsWith("src/", StringComparison.Ordinal) && !f.StartsWith("src/Cowork.Documents/", StringComparison.Ordinal)),
            line => line.Contains("UglyToad.", StringComparison.Ordinal) || line.Contains("AngleSharp.", StringComparison.Ordinal)
                || line.Contains("DocumentFormat.OpenXml", StringComparison.Ordinal)),
        "Parsers of documents belong into Cowork.Documents; ask IDocumentText:");

    [Fact]
    public void Folders_are_one_deep() => Rule.Holds(
        from file in Repository.Files
        let parts = file.Split('/')
        where parts[0] is "src" or "tests" or "bench" && parts.Length > 4 && !(parts.Length == 5 && parts[2] == "Endpoints") && parts[2] != "Console"
        select file,
        "At most one folder below a project (Endpoints/<contract>/ and the modules of Console/ excepted). A longer file name finds more than a folder does:");

    [Fact]
    public void A_folder_holds_more_than_one_file() => Rule.Holds(
        from file in Repository.Sources
        let folder = Path.GetDirectoryName(file)!
        where folder.Count(c => c == '/') == 2
        group file by folder into files
        where files.Count() == 1
        select files.Single(),
        "A folder for one file says nothing: move the file up:");

    [Fact]
    public void Packages_come_from_where_the_machine_gets_its_packages() => Rule.Holds(
        from file in Repository.Files
        let name = Path.GetFileName(file).ToLowerInvariant()
        where name == "nuget.config" || name.EndsWith(".nupkg", StringComparison.Ordinal)
            || (name.EndsWith(".csproj", StringComparison.Ordinal) || name.EndsWith(".props", StringComparison.Ordinal)) && NamesSource(file)
        select file,
        "No package source and no folder feed in the repository; a fresh machine restores from its own source:");

    [Fact]
    public void Package_versions_stand_in_one_place() => Rule.Holds(
        from project in Repository.Projects
        from package in Repository.Xml(project).Descendants("PackageReference")
        where package.Attribute("Version") is not null || package.Attribute("VersionOverride") is not null
        select $"{project}: {package.Attribute("Include")?.Value}",
        "Versions belong into Directory.Packages.props:");

    [Fact]
    public void Every_project_has_its_lock_file() => Rule.Holds(
        Repository.Projects.Where(p => !File.Exists(Path.Combine(Repository.Root, Path.GetDirectoryName(p)!, "packages.lock.json"))),
        "Build the project and commit its packages.lock.json:");

    [Fact]
    public void What_we_do_not_build_on_stays_out()
    {
        string[] unwanted = ["MediatR", "AutoMapper", "Bogus", "Moq", "NSubstitute", "FluentAssertions", "Newtonsoft.Json"];
        Rule.Holds(
            Repository.Xml("Directory.Packages.props").Descendants("PackageVersion").Select(p => p.Attribute("Include")!.Value).Where(unwanted.Contains),
            "Handlers are called, rows serialise themselves, fakes are written, and test data has fixed values:");
    }

    static string NameOf(string project) => Path.GetFileNameWithoutExtension(project);

    static int? Rank(string project) => Ranks.TryGetValue(project, out var rank) ? rank : null;

    static IEnumerable<string> References(string project) =>
        Repository.Xml(project).Descendants("ProjectReference").Select(r => Path.GetFileNameWithoutExtension(r.Attribute("Include")!.Value.Replace('\\', '/')));

    static bool NamesSource(string file) =>
        Repository.Xml(file).Descendants().Any(e => e.Name.LocalName is "RestoreSources" or "RestoreAdditionalProjectSources" or "RestoreFallbackFolders");
}
