using Cowork.Domain;
using Cowork.Web.Http;

namespace Cowork.Web;

/// <summary><c>Cowork:Auth:…</c>: the authority whose tokens (JWT) let callers in beside API tokens, and what their claims mean here.</summary>
public sealed record OidcSettings
{
    /// <summary>Expected in <c>iss</c>, and named by the authority's own document.</summary>
    public required string Authority { get; init; }

    /// <summary>Address of the authority's document (OpenID Connect Discovery).</summary>
    public required Uri Metadata { get; init; }

    /// <summary>A token is for this host when one of these is in <c>aud</c>.</summary>
    public required IReadOnlyList<string> Audiences { get; init; }

    /// <summary>The claim that names the tenant: a name, or a path of names with dots.</summary>
    public string OrgClaim { get; init; } = "org_id";

    /// <summary>The claim that names the roles, one, several in a list, or several with spaces between them.</summary>
    public string RoleClaim { get; init; } = "roles";

    /// <summary>The claim that names the person.</summary>
    public string UserClaim { get; init; } = "sub";

    /// <summary>The tenant of every token; null: the claim names it.</summary>
    public string? Org { get; init; }

    /// <summary>Tenants by the value of the claim; empty: the value is the tenant's name.</summary>
    public IReadOnlyDictionary<string, string> Orgs { get; init; } = new Dictionary<string, string>();

    /// <summary>Roles by values of the claim; empty: the values are the roles' names.</summary>
    public IReadOnlyDictionary<string, IReadOnlyList<string>> Roles { get; init; } = new Dictionary<string, IReadOnlyList<string>>();

    /// <summary>The authority is asked over HTTPS alone. One on loopback may do without.</summary>
    public bool RequireHttps { get; init; } = true;

    /// <summary>Id under which the authority knows the console, a public client; null: people do not sign in to it there.</summary>
    public string? ConsoleClient { get; init; }

    /// <summary>What the console asks for, words with spaces between them.</summary>
    public string ConsoleScope { get; init; } = "openid";

    /// <summary>So far the clocks of the authority and of this host may differ.</summary>
    public TimeSpan ClockSkew { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>The keys are asked for so often: one that the authority withdraws works so long.</summary>
    public TimeSpan RefreshEvery { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>Keys that cannot be asked for anew work so long.</summary>
    public TimeSpan KeysKept { get; init; } = TimeSpan.FromHours(1);

    /// <summary>Null: API tokens are the only ones.</summary>
    /// <exception cref="ArgumentException">The message is a sentence about the setting that does not fit.</exception>
    public static OidcSettings? Read(IConfigurationSection auth)
    {
        if (auth.Text("Authority") is not { } authority)
        {
            string[] others = ["Audience", "Metadata", "OrgClaim", "RoleClaim", "UserClaim", "Org", "ConsoleClient", "ConsoleScope"];
            return others.FirstOrDefault(name => auth.GetSection(name).Exists()) is { } alone
                ? throw new ArgumentException($"{auth.PathOf(alone)} is about tokens of an authority, and Cowork:Auth:Authority names none.")
                : null;
        }
        var usual = new OidcSettings { Authority = authority, Metadata = new("https://localhost"), Audiences = [] };
        var requireHttps = auth.Switch("RequireHttps") ?? usual.RequireHttps;
        CheckAddress(auth, "Authority", authority, requireHttps);
        var metadata = auth.Text("Metadata") ?? authority.TrimEnd('/') + "/.well-known/openid-configuration";
        CheckAddress(auth, "Metadata", metadata, requireHttps);
        var audiences = Texts(auth.GetSection("Audience"));
        if (audiences.Count == 0)
        {
            throw new ArgumentException(
                "Cowork:Auth:Authority is given without Cowork:Auth:Audience: a token that the authority made for another service would be worth as much here.");
        }
        var org = auth.Text("Org");
        var orgs = Names(auth.GetSection("Orgs"));
        if (org is not null && (auth.Text("OrgClaim") is not null || orgs.Count > 0))
        {
            throw new ArgumentException("Cowork:Auth:Org gives every token one tenant, and Cowork:Auth:OrgClaim or Cowork:Auth:Orgs beside it another one. Leave one of them out.");
        }
        if (orgs.Values.SelectMany(tenants => tenants).Append(org).OfType<string>().FirstOrDefault(name => !BearerToken.IsOrg(name)) is { } wrong)
        {
            throw new ArgumentException($"Cowork:Auth names the tenant \"{wrong}\"; a tenant has 1 to {Limits.IdCharsMax} letters, digits, dots, underscores and hyphens.");
        }
        if (orgs.FirstOrDefault(entry => entry.Value.Count > 1) is { Key: { } twice })
        {
            throw new ArgumentException($"Cowork:Auth:Orgs gives \"{twice}\" to more than one tenant.");
        }
        var roles = Names(auth.GetSection("Roles"));
        if (roles.Values.SelectMany(names => names).FirstOrDefault(name => !ApiToken.Roles.Contains(name)) is { } unknown)
        {
            throw new ArgumentException($"Cowork:Auth:Roles:{unknown} is about a role that does not exist; the roles are {string.Join(", ", ApiToken.Roles)}.");
        }
        return usual with
        {
            Metadata = new(metadata),
            Audiences = audiences,
            OrgClaim = auth.Text("OrgClaim") ?? usual.OrgClaim,
            RoleClaim = auth.Text("RoleClaim") ?? usual.RoleClaim,
            UserClaim = auth.Text("UserClaim") ?? usual.UserClaim,
            Org = org,
            Orgs = orgs.ToDictionary(entry => entry.Key, entry => entry.Value[0]),
            Roles = roles,
            RequireHttps = requireHttps,
            ConsoleClient = auth.Text("ConsoleClient"),
            ConsoleScope = auth.Text("ConsoleScope") ?? usual.ConsoleScope,
            ClockSkew = auth.Time("ClockSkew", TimeSpan.Zero, TimeSpan.FromMinutes(5)) ?? usual.ClockSkew,
            RefreshEvery = auth.Time("RefreshEvery", TimeSpan.FromSeconds(1), TimeSpan.FromDays(1)) ?? usual.RefreshEvery,
            KeysKept = auth.Time("KeysKept", TimeSpan.FromSeconds(1), TimeSpan.FromDays(7)) ?? usual.KeysKept,
        };
    }

    /// <summary>Whether the authority may be asked at an address.</summary>
    public bool MayAsk(Uri address) => MayAsk(address, RequireHttps, Metadata);

    static bool MayAsk(Uri address, bool requireHttps, Uri metadata) =>
        address.Scheme == Uri.UriSchemeHttps
        || (address.Scheme == Uri.UriSchemeHttp && (!requireHttps || (address.IsLoopback && metadata.IsLoopback && metadata.Scheme == Uri.UriSchemeHttp)));

    static void CheckAddress(IConfigurationSection auth, string name, string address, bool requireHttps)
    {
        if (!Uri.TryCreate(address, UriKind.Absolute, out var uri) || uri.Scheme is not ("https" or "http")
            || uri.UserInfo.Length > 0 || uri.Query.Length > 0 || uri.Fragment.Length > 0)
        {
            throw new ArgumentException($"{auth.PathOf(name)} must be an absolute https address, for example https://login.example.com/realms/cowork.");
        }
        if (!MayAsk(uri, requireHttps, uri))
        {
            throw new ArgumentException(
                $"{auth.PathOf(name)} is \"{address}\": over plain HTTP anybody in between can give this host keys of his own. Use https;"
                + " Cowork:Auth:RequireHttps=false allows it all the same.");
        }
    }

    /// <summary>What a section lists, by value: <c>{ours}: value</c> or <c>{ours}:0: value</c> gives value → ours.</summary>
    static Dictionary<string, IReadOnlyList<string>> Names(IConfigurationSection section) => section.GetChildren()
        .SelectMany(ours => Texts(ours).Select(value => (value, ours.Key)))
        .GroupBy(pair => pair.value, pair => pair.Key)
        .ToDictionary(group => group.Key, IReadOnlyList<string> (group) => [.. group]);

    /// <summary>One value, or several.</summary>
    static List<string> Texts(IConfigurationSection section) =>
        [.. section.GetChildren().Select(child => child.Value).Append(section.Value).Where(value => !string.IsNullOrWhiteSpace(value)).Select(value => value!.Trim())];
}
