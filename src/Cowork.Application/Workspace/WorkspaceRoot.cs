using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// A folder of the configuration <c>Cowork:WorkspaceRoots</c>. With <c>{org}</c> in its path it is one folder for each tenant; without, it is one tenant's: that of the
/// first who uses it.
/// </summary>
/// <param name="Template">Absolute path, without a trailing slash.</param>
public sealed record WorkspaceRoot(string Template)
{
    public const string OrgPlace = "{org}";

    public bool IsPerTenant => Template.Contains(OrgPlace, StringComparison.Ordinal);

    /// <summary>The tenant's folder; null: its name cannot be a folder's.</summary>
    public string? Of(string org)
    {
        var path = Template.Replace(OrgPlace, org, StringComparison.Ordinal);
        // A tenant named ".." would have the folder above.
        return Path.GetFullPath(path) == path ? path : null;
    }

    /// <summary>The folder that holds the folders of all tenants; the root itself when it is one tenant's.</summary>
    public string Common => IsPerTenant ? Template[..Math.Max(1, Template.LastIndexOf('/', Template.IndexOf(OrgPlace, StringComparison.Ordinal)))] : Template;

    /// <summary>Its part of the path that names the tenant.</summary>
    string Step => IsPerTenant ? Template[Common.TrimEnd('/').Length..].Split('/')[1] : "";

    /// <summary>Reads the configured roots.</summary>
    /// <exception cref="ArgumentException">A sentence: a root is not absolute, or a folder in one could be another tenant's in another.</exception>
    public static IReadOnlyList<WorkspaceRoot> Read(IEnumerable<string> templates)
    {
        var roots = new List<WorkspaceRoot>();
        foreach (var template in templates)
        {
            if (!Path.IsPathFullyQualified(template))
            {
                throw new ArgumentException($"Cowork:WorkspaceRoots holds \"{template}\", which is not an absolute path.");
            }
            roots.Add(new(Path.TrimEndingDirectorySeparator(Path.GetFullPath(template))));
        }
        foreach (var (one, other) in roots.SelectMany((one, i) => roots.Skip(i + 1).Select(other => (one, other))))
        {
            if ((one.IsPerTenant || other.IsPerTenant) && one.MayMeet(other))
            {
                throw new ArgumentException(
                    $"Cowork:WorkspaceRoots holds \"{one.Template}\" and \"{other.Template}\": a folder of one tenant could lie in another's. Put them beside each other.");
            }
        }
        return roots;
    }

    /// <summary>Some tenant's folder by one of them is, or lies in, another tenant's by the other.</summary>
    bool MayMeet(WorkspaceRoot other) =>
        // Below the same folder they are told apart by the tenant's name, when both have it as the same step.
        !(IsPerTenant && other.IsPerTenant && Common == other.Common && Step == other.Step)
        && (GrantedPath.RelativeTo(Common, other.Common) is not null || GrantedPath.RelativeTo(other.Common, Common) is not null);
}

/// <summary>Makes a root without <c>{org}</c> the tenant's own. Refused: it is another's.</summary>
/// <param name="Owner">The tenant. The command is executed in the operator's, whose log says whose each root is.</param>
public sealed record ClaimWorkspaceRoot(WorkspaceRoot Root, string Owner) : ICommand
{
    const string Kind = "workspace_root";

    public async ValueTask<Refusal?> Decide(UnitOfWork work) => await work.Do(
        UniqueName.Aggregate, UniqueName.StreamKey(Kind, Root.Template), new UniqueNameCommand.Claim(Kind, Root.Template, Owner, work.Now));
}
