using Npgsql;

namespace Cowork.Bench;

/// <summary>Hosts work as the hosts' role of the private server. A release that knows one role only owns what it makes as that role.</summary>
static class Roles
{
    /// <param name="administrator">Connection string of the superuser.</param>
    public static string Host(string administrator) => new NpgsqlConnectionStringBuilder(administrator) { Username = "cowork_host" }.ConnectionString;
}
