using System.Text.Json;
using System.Text.RegularExpressions;

using Xunit;

namespace Cowork.Tidy;

/// <summary>What comes from others is named exactly: packages by lock files, tools by versions, images by what a release can pin.</summary>
public sealed partial class SupplyRules
{
    [Fact]
    public void Every_project_has_a_lock_file() => Rule.Holds(
        Repository.Projects.Select(p => $"{Path.GetDirectoryName(p)}/packages.lock.json").Except(Repository.Files),
        "Run `dotnet restore Cowork.sln` and commit the lock file:");

    [Fact]
    public void Every_tool_has_one_version()
    {
        using var tools = JsonDocument.Parse(Repository.Read(".config/dotnet-tools.json"));
        Rule.Holds(
            from tool in tools.RootElement.GetProperty("tools").EnumerateObject()
            where !ExactVersion().IsMatch(tool.Value.GetProperty("version").GetString()!) || tool.Value.GetProperty("rollForward").GetBoolean()
            select tool.Name,
            "Name one version of the tool, and let it not roll forward:");
    }

    /// <summary>A release names each image by its digest, so each is a variable that <c>deploy/images</c> pins.</summary>
    [Fact]
    public void Every_image_can_be_pinned()
    {
        var pinned = Pinned().Matches(Repository.Read("deploy/images")).ToDictionary(m => m.Groups["name"].Value, m => m.Groups["image"].Value);
        var used = Image().Matches(Repository.Read("docker-compose.yml")).Select(m => m.Groups["image"].Value).Concat(
            From().Matches(Repository.Read("Dockerfile")).Select(m => m.Groups["image"].Value)).ToList();
        Assert.Equal(4, used.Count);
        Rule.Holds(used.Where(image => !pinned.Keys.Any(name => image.StartsWith($"${{{name}", StringComparison.Ordinal))), "Name the image by a variable of deploy/images:");
        Rule.Holds(
            from file in (string[])["Dockerfile", "docker-compose.yml"]
            from given in Default().Matches(Repository.Read(file))
            where pinned.GetValueOrDefault(given.Groups["name"].Value) != given.Groups["image"].Value
            select $"{file}: {given.Value}",
            "deploy/images names another image, or none:");
    }

    [Fact]
    public void The_image_is_built_with_its_bills_of_materials() => Assert.Contains("./cowork sbom /app/sbom", Repository.Read("Dockerfile"), StringComparison.Ordinal);

    /// <summary>Programs of packages that every Debian has: bash, coreutils, dash, libc-bin and util-linux.</summary>
    static readonly string[] Everywhere = ["bash", "ln", "mkfifo", "mv", "rm", "setpriv", "setsid", "sh", "stat", "true", "zic"];

    /// <summary>Programs of what the script wants or installs.</summary>
    static readonly string[] Installed = ["chromium", "dotnet", "node", "npm", "python3"];

    /// <summary>A small machine has no <c>kill</c> and no <c>ps</c>, say, and nobody notices where everything is installed.</summary>
    [Fact]
    public void A_program_that_is_started_is_one_that_a_fresh_machine_has() => Rule.Holds(
        from file in Repository.Sources
        from started in Started().Matches(Repository.Read(file))
        let program = Path.GetFileName(started.Groups["program"].Value)
        where !Everywhere.Contains(program) && !Installed.Contains(program)
        select $"{file}: {program}",
        "Do it with a builtin of /bin/sh, or let `need` of the script cowork install the program's package:");

    [Fact]
    public void What_the_code_and_the_pages_tell_to_install_is_what_the_script_installs()
    {
        var packages = Packages().Matches(Repository.Read("cowork")).SelectMany(m => m.Groups["names"].Value.Split(' ')).ToHashSet();
        Assert.Contains("postgresql", packages);
        Rule.Holds(
            from file in Repository.Sources.Where(f => f.StartsWith("src/", StringComparison.Ordinal)).Concat(Repository.Documents)
            from told in Told().Matches(Repository.Read(file))
            from package in told.Groups["names"].Value.Split(' ')
            where !packages.Contains(package)
            select $"{file}: {package}",
            "Add the package to `describe` of the script cowork, or name the one that is there:");
    }

    [GeneratedRegex(@"(ProcessStartInfo|Process\.Start|RunProgram|FindTool)\((""[^""]+"", (?=""[^""]+"", \[))?""(?<program>[^""]+)""")]
    private static partial Regex Started();

    [GeneratedRegex(@"packages=\((?<names>[^)""]+)\)")]
    private static partial Regex Packages();

    [GeneratedRegex(@"apt-get install (--no-install-recommends )?(?<names>[a-z0-9][a-z0-9.+-]*( [a-z0-9][a-z0-9.+-]*)*)(?![a-z0-9.+{-])")]
    private static partial Regex Told();

    [GeneratedRegex(@"^\d+\.\d+\.\d+$")]
    private static partial Regex ExactVersion();

    [GeneratedRegex(@"^    (?<name>[A-Z_]+_IMAGE)=(?<image>\S+)$", RegexOptions.Multiline)]
    private static partial Regex Pinned();

    [GeneratedRegex(@"^    image: (?<image>\S+)$", RegexOptions.Multiline)]
    private static partial Regex Image();

    [GeneratedRegex(@"^FROM (?<image>\S+)", RegexOptions.Multiline)]
    private static partial Regex From();

    [GeneratedRegex(@"(?<name>[A-Z_]+_IMAGE)(=|:-)(?<image>[^\s}]+)")]
    private static partial Regex Default();
}
