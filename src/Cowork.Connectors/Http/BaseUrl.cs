namespace Cowork.Connectors;

/// <summary>The address below which all requests of a connection stay.</summary>
public sealed class BaseUrl
{
    /// <summary>Servers decode more than once; what needs more rounds than this is no honest path.</summary>
    const int DecodingsMax = 4;

    /// <summary>Without a slash at its end.</summary>
    readonly string text;

    /// <summary>With one.</summary>
    readonly Uri folder;

    BaseUrl(string text, Uri folder) => (this.text, this.folder) = (text, folder);

    /// <summary>The base itself.</summary>
    public Uri Address => new(text);

    public string Host => folder.Authority;

    /// <param name="fault">Why the text is no base URL, as a sentence; null: it is one.</param>
    public static BaseUrl? Parse(string? text, out string? fault)
    {
        fault = !Uri.TryCreate(text?.Trim(), UriKind.Absolute, out var uri) || uri.Scheme is not ("http" or "https") ? "Must be an address that begins with https:// or http://."
            : uri.UserInfo.Length > 0 ? "Must not hold a user or a password: they have fields of their own."
            : uri.Query.Length > 0 || uri.Fragment.Length > 0 ? "Must end before a query (?) and a fragment (#)."
            : null;
        if (fault is not null)
        {
            return null;
        }
        var plain = uri!.GetLeftPart(UriPartial.Path).TrimEnd('/');
        return new(plain, new(plain + "/"));
    }

    /// <summary>The address of a path below the base.</summary>
    /// <param name="path">Such as <c>/v1/orders?page=2</c>, or the whole address of something below the base.</param>
    /// <param name="fault">Why the path cannot be asked for, as a sentence.</param>
    /// <returns>Null: see <paramref name="fault"/>.</returns>
    public Uri? Below(string path, out string? fault)
    {
        fault = path.Any(char.IsControl) || path.Contains('#', StringComparison.Ordinal) ? "A path has no control character and no fragment (#)." : null;
        if (fault is not null)
        {
            return null;
        }
        var isWhole = path.StartsWith("http://", StringComparison.OrdinalIgnoreCase) || path.StartsWith("https://", StringComparison.OrdinalIgnoreCase);
        var rest = path.TrimStart('/');
        var whole = isWhole ? path : rest.Length == 0 || rest[0] == '?' ? text + rest : folder + rest;
        if (Uri.TryCreate(whole, UriKind.Absolute, out var address) && IsClimbFree(isWhole ? address.AbsolutePath : path) && Contains(address))
        {
            return address;
        }
        fault = "The path leads out of the connection's base URL.";
        return null;
    }

    /// <summary>True: the address is the base or lies below it, on the same server.</summary>
    public bool Contains(Uri address) =>
        address.Scheme == folder.Scheme && address.IdnHost == folder.IdnHost && address.Port == folder.Port && address.UserInfo.Length == 0
        && (address.AbsolutePath + "/").StartsWith(folder.AbsolutePath, StringComparison.Ordinal) && IsClimbFree(address.AbsolutePath);

    /// <summary>True: the address is one of this base when it is asked for over TLS.</summary>
    public bool IsSecured(Uri address) => folder.Scheme == "http" && address.Scheme == "https" && address.IdnHost == folder.IdnHost;

    /// <summary>True: no part of the path climbs, also not for a server that decodes it again, takes a backslash for a slash or cuts a part at its semicolon.</summary>
    static bool IsClimbFree(string path)
    {
        var decoded = path.Split('?', 2)[0];
        for (var i = 0; i < DecodingsMax; i++)
        {
            if (decoded.Contains('\\', StringComparison.Ordinal) || decoded.Split('/').Any(part => part.Split(';', 2)[0] is "." or ".."))
            {
                return false;
            }
            var again = Uri.UnescapeDataString(decoded);
            if (again == decoded)
            {
                return true;
            }
            decoded = again;
        }
        return false;
    }
}
