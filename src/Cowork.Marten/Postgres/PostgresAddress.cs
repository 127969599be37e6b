using System.Globalization;

using Npgsql;

namespace Cowork.Marten;

/// <summary>
/// Where a PostgreSQL is, in the forms that people write it: Npgsql's own <c>Host=…;Database=…</c>, libpq's URI (<c>postgres://…</c>), and libpq's variables
/// (<c>PGHOST</c> and the rest). libpq's files (<c>PGSERVICE</c>) are not read.
/// </summary>
public static class PostgresAddress
{
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
        catch (Exception e) when (e is FormatException or KeyNotFoundException or OverflowException)
        {
            throw new ArgumentException("The database's address cannot be read.", e);
        }
    }

    /// <summary>Why no connection can be made at the moment; null: one can.</summary>
    /// <exception cref="InvalidOperationException">The server refuses the connection, and waiting would not change that.</exception>
    public static async Task<string?> WhyNotReachable(string connectionString, CancellationToken ct)
    {
        try
        {
            var once = new NpgsqlConnectionStringBuilder(connectionString) { Pooling = false };
            await using var connection = new NpgsqlConnection(once.ConnectionString);
            await connection.OpenAsync(ct);
            return null;
        }
        catch (Exception e) when (Database.IsAway(e))
        {
            return e.Message;
        }
        catch (PostgresException e)
        {
            throw new InvalidOperationException($"The database refuses the connection: {e.MessageText}", e);
        }
    }

    /// <summary>The address in libpq's variables; null when <c>PGHOST</c> and <c>PGHOSTADDR</c> name no host. Npgsql reads <c>PGPASSFILE</c> by itself.</summary>
    public static string? FromVariables(Func<string, string?> variable)
    {
        var host = variable("PGHOSTADDR") is { Length: > 0 } address ? address : variable("PGHOST");
        if (string.IsNullOrEmpty(host))
        {
            return null;
        }
        var builder = new NpgsqlConnectionStringBuilder { Host = host };
        Take("PGPORT", "port", builder, variable);
        Take("PGUSER", "user", builder, variable);
        Take("PGPASSWORD", "password", builder, variable);
        Take("PGDATABASE", "dbname", builder, variable);
        Take("PGSSLMODE", "sslmode", builder, variable);
        Take("PGAPPNAME", "application_name", builder, variable);
        Take("PGCONNECT_TIMEOUT", "connect_timeout", builder, variable);
        Take("PGOPTIONS", "options", builder, variable);
        return builder.ConnectionString;
    }

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
        foreach (var pair in query.Split('&', StringSplitOptions.RemoveEmptyEntries))
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

    static void Take(string name, string setting, NpgsqlConnectionStringBuilder builder, Func<string, string?> variable)
    {
        if (variable(name) is { Length: > 0 } value)
        {
            Set(builder, setting, value);
        }
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
            case "sslrootcert":
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
