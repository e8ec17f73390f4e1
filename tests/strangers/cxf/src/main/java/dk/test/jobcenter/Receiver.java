// SPDX-License-Identifier: MPL-2.0
package dk.test.jobcenter;

import dk.serviceplatformen.xml.schemas.kvittering._1.SygefravaerResponse;
import dk.serviceplatformen.xml.schemas.kvittering._1.TransportKvitteringType;
import dk.serviceplatformen.xml.schemas.kvittering._1.TransportValideringsKodeType;
import dk.test.jobcenter.jc.SendAnmodningForlaengelseRequestType;
import dk.test.jobcenter.jc.SendHaendelseSygefravaerssagRequestType;
import dk.test.jobcenter.jc.SygefravaerJCModtagerPortType;
import jakarta.jws.WebService;
import java.io.FileInputStream;
import java.security.KeyStore;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.TrustManagerFactory;
import org.apache.cxf.Bus;
import org.apache.cxf.BusFactory;
import org.apache.cxf.configuration.jsse.TLSServerParameters;
import org.apache.cxf.configuration.security.ClientAuthentication;
import org.apache.cxf.jaxws.EndpointImpl;
import org.apache.cxf.transport.http_jetty.JettyHTTPServerEngineFactory;

/** Takes M1 and M3 as generated types and prints one line for each: what a vendor's first afternoon looks like. */
@WebService(
    serviceName = "SygefravaerJCModtager",
    portName = "SygefravaerJCModtagerPort",
    targetNamespace = "http://serviceplatformen.dk/xml/wsdl/soap11/KSD/SygefravaerJC/2/",
    endpointInterface = "dk.test.jobcenter.jc.SygefravaerJCModtagerPortType")
public final class Receiver implements SygefravaerJCModtagerPortType {

    @Override
    public SygefravaerResponse sendHaendelseSygefravaerssag(SendHaendelseSygefravaerssagRequestType request) {
        System.out.println("M1 " + request.getHoved().getBeskedID() + " " + request.getHaendelsestype().value() + " "
            + request.getSygefravaerssag().getSagsVersion());
        return received();
    }

    @Override
    public SygefravaerResponse sendAnmodningForlaengelse(SendAnmodningForlaengelseRequestType request) {
        System.out.println("M3 " + request.getHoved().getBeskedID() + " " + request.getAnmodningID() + " "
            + request.getMuligeForlaengelseskoder().size());
        return received();
    }

    private static SygefravaerResponse received() {
        TransportKvitteringType receipt = new TransportKvitteringType();
        receipt.setTransportValideringsKode(TransportValideringsKodeType.OK);
        SygefravaerResponse response = new SygefravaerResponse();
        response.setTransportKvittering(receipt);
        return response;
    }

    /** Arguments: port, PKCS#12 file of the server, its password, PKCS#12 trust store, its password. */
    public static void main(String[] args) throws Exception {
        int port = Integer.parseInt(args[0]);
        KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        keys.init(store(args[1], args[2]), args[2].toCharArray());
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store(args[3], args[4]));

        TLSServerParameters tls = new TLSServerParameters();
        tls.setKeyManagers(keys.getKeyManagers());
        tls.setTrustManagers(trust.getTrustManagers());
        ClientAuthentication client = new ClientAuthentication();
        client.setRequired(true);
        client.setWant(true);
        tls.setClientAuthentication(client);

        Bus bus = BusFactory.getDefaultBus();
        bus.getExtension(JettyHTTPServerEngineFactory.class).setTLSServerParametersForPort("127.0.0.1", port, tls);
        EndpointImpl endpoint = new EndpointImpl(bus, new Receiver());
        endpoint.getProperties().put("schema-validation-enabled", "true");
        endpoint.publish("https://127.0.0.1:" + port + "/service/KSD/SygefravaerJC/2");
        System.out.println("READY");
        Thread.currentThread().join();
    }

    private static KeyStore store(String file, String password) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        try (FileInputStream in = new FileInputStream(file)) {
            store.load(in, password.toCharArray());
        }
        return store;
    }
}
