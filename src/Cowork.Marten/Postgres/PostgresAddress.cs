using System.Globalization;
using System.Net;

using Npgsql;

namespace Cowork.Marten;

/// <summary>
/// Where a PostgreSQL is, in the forms that people write it: Npgsql's own <c>Host=…;Database=…</c>, libpq's URI (<c>postgres://…</c>), and libpq's variables
/// (<c>PGHOST</c> and the rest). libpq's files (<c>PGSERVICE</c>) are not read.
/// </summary>
public static class PostgresAddress
{
    const string RootCertificate = "sslrootcert";

    static readonly (string Name, string Setting)[] Variables =
    [
        ("PGPORT", "port"), ("PGUSER", "user"), ("PGPASSWORD", "password"), ("PGDATABASE", "dbname"), ("PGSSLMODE", "sslmode"), ("PGAPPNAME", "application_name"),
        ("PGCONNECT_TIMEOUT", "connect_timeout"), ("PGOPTIONS", "options"), ("PGTARGETSESSIONATTRS", "target_session_attrs"),
        ("PGSSLCERT", "sslcert"), ("PGSSLKEY", "sslkey"), ("PGSSLROOTCERT", RootCertificate),
    ];

    /// <summary>Npgsql's form of an address in either form.</summary>
    /// <exception cref="ArgumentException">The text is neither; the message never repeats it, because it may hold a password.</exception>
    public static string Parse(string text)
    {
        try
        {
            return text.StartsWith("postgres://", StringComparison.Ordinal) || text.StartsWith("postgresql://", StringComparison.Ordinal)
                ? FromUri(text[(text.IndexOf("//", StringComparison.Ordinal) + 2)..]).ConnectionString
                : new NpgsqlConnectionStringBuilder(text).ConnectionString;
        }
        catch (Exception e) when (e is FormatException or KeyNotFoundException or OverflowException or ArgumentException or InvalidCastException)
        {
            throw Unreadable();
        }
    }

    /// <summary>
    /// What cannot be read may be the rest of a password, so that neither the text nor what a parser says about it is repeated, not even as an inner exception.
    /// </summary>
    static ArgumentException Unreadable() => new(
        "The database's address cannot be read: it has a setting that does not exist, or a value that is none. A password with a semicolon, an equals sign or a blank at its "
        + "end needs quotation marks (Password=\"…\"), and in a postgres:// address such characters are written %3B and so on.");

    /// <summary>The address in libpq's variables; null when <c>PGHOST</c> and <c>PGHOSTADDR</c> name no host. Npgsql reads <c>PGPASSFILE</c> by itself.</summary>
    public static string? FromVariables(Func<string, string?> variable)
    {
        var host = variable("PGHOSTADDR") is { Length: > 0 } address ? address : variable("PGHOST");
        if (string.IsNullOrEmpty(host))
        {
            return null;
        }
        var builder = new NpgsqlConnectionStringBuilder { Host = host };
        foreach (var (name, setting) in Variables)
        {
            if (variable(name) is { Length: > 0 } value)
            {
                try
                {
                    Set(builder, setting, value);
                }
                catch (Exception e) when (e is FormatException or OverflowException or ArgumentException)
                {
                    throw new ArgumentException($"The variable {name} has a value that cannot be read.");
                }
            }
        }
        return builder.ConnectionString;
    }

    /// <summary>The servers of an address in Npgsql's form that are reached over TCP.</summary>
    public static IReadOnlyList<DnsEndPoint> Servers(string connectionString)
    {
        var address = new NpgsqlConnectionStringBuilder(connectionString);
        return [.. (address.Host ?? "").Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
            .Where(host => host[0] is not ('/' or '@'))
            .Select(host => Server(host, address.Port))];
    }

    /// <param name="host"><c>name</c>, <c>name:port</c>, an address, or one of IPv6 in brackets with a port.</param>
    static DnsEndPoint Server(string host, int port) =>
        // The parser of addresses would take the port of one in brackets with it.
        (host[0] != '[' && IPAddress.TryParse(host, out _)) || PortAt(host) is not (var colon and >= 0)
            ? new(host.Trim('[', ']'), port)
            : new(host[..colon].Trim('[', ']'), int.Parse(host[(colon + 1)..], NumberStyles.None, CultureInfo.InvariantCulture));

    static NpgsqlConnectionStringBuilder FromUri(string rest)
    {
        var builder = new NpgsqlConnectionStringBuilder();
        var question = rest.IndexOf('?', StringComparison.Ordinal);
        var query = question < 0 ? "" : rest[(question + 1)..];
        rest = question < 0 ? rest : rest[..question];
        var slash = rest.IndexOf('/', StringComparison.Ordinal);
        var authority = slash < 0 ? rest : rest[..slash];
        if (slash >= 0 && slash + 1 < rest.Length)
        {
            builder.Database = Uri.UnescapeDataString(rest[(slash + 1)..]);
        }
        var at = authority.LastIndexOf('@');
        if (at >= 0)
        {
            var user = authority[..at].Split(':', 2);
            Set(builder, "user", Uri.UnescapeDataString(user[0]));
            if (user.Length == 2)
            {
                builder.Password = Uri.UnescapeDataString(user[1]);
            }
            authority = authority[(at + 1)..];
        }
        if (authority.Length > 0)
        {
            // Several hosts, each with its port, are Npgsql's form too; one host's port is a setting of its own there.
            if (!authority.Contains(',', StringComparison.Ordinal) && PortAt(authority) is var colon and >= 0)
            {
                Set(builder, "port", authority[(colon + 1)..]);
                authority = authority[..colon];
            }
            builder.Host = Uri.UnescapeDataString(authority).Trim('[', ']');
        }
        // The roots come last: "system" has a say in the mode.
        foreach (var pair in query.Split('&', StringSplitOptions.RemoveEmptyEntries).OrderBy(pair => pair.StartsWith(RootCertificate, StringComparison.Ordinal)))
        {
            var parts = pair.Split('=', 2);
            Set(builder, Uri.UnescapeDataString(parts[0]), parts.Length == 2 ? Uri.UnescapeDataString(parts[1]) : "");
        }
        builder.Host ??= "localhost";
        return builder;
    }

    static int PortAt(string host)
    {
        var colon = host.LastIndexOf(':');
        return colon > host.LastIndexOf(']') ? colon : -1;
    }

    static void Set(NpgsqlConnectionStringBuilder builder, string setting, string value)
    {
        switch (setting)
        {
            case "host" or "hostaddr":
                builder.Host = value;
                break;
            case "port":
                builder.Port = int.Parse(value, NumberStyles.None, CultureInfo.InvariantCulture);
                break;
            case "user" when value.Length > 0:
                builder.Username = value;
                break;
            case "password":
                builder.Password = value;
                break;
            case "dbname":
                builder.Database = value;
                break;
            case "application_name":
                builder.ApplicationName = value;
                break;
            case "connect_timeout":
                builder.Timeout = int.Parse(value, NumberStyles.None, CultureInfo.InvariantCulture);
                break;
            case "options":
                builder.Options = value;
                break;
            case "sslmode":
                builder.SslMode = Enum.Parse<SslMode>(value.Replace("-", "", StringComparison.Ordinal), ignoreCase: true);
                break;
            case RootCertificate when value == "system":
                // As libpq has it: the machine's own authorities, and the server's name is compared.
                builder.SslMode = SslMode.VerifyFull;
                break;
            case RootCertificate:
                builder.RootCertificate = value;
                break;
            case "sslcert":
                builder.SslCertificate = value;
                break;
            case "sslkey":
                builder.SslKey = value;
                break;
            case "target_session_attrs":
                builder.TargetSessionAttributes = value;
                break;
            default:
                // libpq has settings that mean nothing here (keepalives, gssencmode, …); an address that works with psql should work.
                break;
        }
    }
}
